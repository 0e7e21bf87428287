import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

test('the library alone appends, subscribes and reads in a few lines', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-example-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const program = fileURLToPath(new URL('../library.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [program, directory])
  for (const id of [1, 2, 3]) expect(stdout).toContain(`billing got order ${id} of customer-${id % 2}`)
  expect(stdout).toMatch(/read \d:0/)
})
