import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from '@weft/transport'
import { expect, test } from 'vitest'
import { verifySpool } from '../src/index.ts'
import { logged, makeDirectory, pageView, send } from './fixture.ts'

test('a disk that takes nothing of the spool is answered with 503, what was taken stays, and it goes on afterwards', {
  timeout: 90_000,
}, async context => {
  if (spawnSync('prlimit', ['--version']).status !== 0) {
    const reason = 'there is no prlimit here (util-linux): only with it can a disk be made to take nothing'
    if (process.env.CI === 'true') expect.fail(reason)
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `spool on a full disk: ${reason}\n`)
    return context.skip(reason)
  }
  await using made = await makeDirectory()
  const directory = String(made)
  const spool = join(directory, 'spool')
  await writeFile(join(directory, 'outage'), 'refused')
  const script = fileURLToPath(new URL('spooling-process.ts', import.meta.url))
  const child = spawn(process.execPath, [script, directory], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ended = once(child, 'exit')
  const taken: string[] = []
  try {
    const [line] = await once(child.stdout, 'data')
    const url = `${String(line).trim()}/v1/events`
    const limit = (size: string) => execFileSync('prlimit', ['--pid', String(child.pid), `--fsize=${size}:unlimited`])
    const post = async (event_id: string) => {
      const { status } = await send(url, pageView({ event_id }))
      if (status === 202) taken.push(event_id)
      return status
    }
    expect(await post('before')).toBe(202)
    for (let round = 0; round < 3; round++) {
      // Within a record: what could be written of it must not stay.
      limit(String(1000 + 500 * round))
      let refused = 0
      for (let n = 0; n < 12; n++) if ((await post(`${round}-${n}`)) === 503) refused++
      expect(refused).toBeGreaterThan(3)
      expect((await verifySpool(spool)).faults).toEqual([])
      limit('unlimited')
      expect(await post(`after-${round}`)).toBe(202)
    }
    expect((await verifySpool(spool)).waiting).toBe(taken.length)
    await writeFile(join(directory, 'outage'), 'well')
    const segments = async () => (await readdir(spool)).filter(name => name.endsWith('.spool')).length
    await expect.poll(segments, { timeout: 30_000 }).toBe(0)
    expect(child.exitCode).toBeNull()
  } finally {
    child.kill('SIGKILL')
    await ended
  }
  await using transport = await open(`embedded:${join(directory, 'store')}`)
  expect((await logged(transport)).map(({ event }) => event.event_id)).toEqual(taken)
})
