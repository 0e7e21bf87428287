import { spawnSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const CANNOT_BE_TRIED = 69

it('training the model again gives its metrics, its card and the scores of all rows', { timeout: 300_000 }, context => {
  const check = fileURLToPath(new URL('../model/check.sh', import.meta.url))
  const { status, stdout, stderr, error } = spawnSync('sh', [check], { encoding: 'utf8' })
  if (status === CANNOT_BE_TRIED || error) {
    const reason = (error?.message ?? stderr).trim().split('\n').at(-1)
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `training the model again: ${reason}\n`)
    context.skip(reason)
  }
  expect(status, `${stdout}\n${stderr}`).toBe(0)
})
