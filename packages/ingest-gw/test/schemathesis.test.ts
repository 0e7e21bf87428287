import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type World, world } from './fixture.ts'

const here = fileURLToPath(new URL('schemathesis/', import.meta.url))
const cache = fileURLToPath(new URL('../../../node_modules/.cache/schemathesis/', import.meta.url))
const seed = process.env.WEFT_SEED ?? String(Math.floor(Math.random() * 2 ** 31))

let it: World
beforeAll(async () => {
  // Generated times lie anywhere: with the usual bounds hardly an event would get to the log.
  it = await world({ checks: { pastMs: 1e15, futureMs: 1e15 } })
})
afterAll(() => it[Symbol.asyncDispose]())

function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; output: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; output: string }>()
  const child = spawn(command, args, { cwd: here, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += chunk))
  child.on('error', error => resolve({ code: null, output: String(error) }))
  child.on('close', code => resolve({ code, output }))
  return promise
}

/** The pinned schemathesis in a virtual environment of its own, made once; or why there is none. */
async function schemathesis(): Promise<{ st: string } | { missing: string }> {
  const pinned = (await readFile(join(here, 'requirements.txt'), 'utf8')).trim()
  const place = join(cache, pinned.replace('==', '-'))
  const st = join(place, 'bin', 'st')
  if (existsSync(st) && spawnSync(st, ['--version']).status === 0) return { st }
  if (spawnSync('python3', ['-c', 'import venv, ensurepip']).status !== 0)
    return { missing: 'there is no python3 with venv here' }
  await mkdir(cache, { recursive: true })
  await rm(place, { recursive: true, force: true })
  const made = await run('python3', ['-m', 'venv', place])
  if (made.code !== 0) return { missing: `python3 -m venv failed: ${made.output.trim().split('\n').at(-1)}` }
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', join(here, 'requirements.txt')]
  const installed = await run(join(place, 'bin', 'python'), pip)
  if (installed.code === 0) return { st }
  // A half-made one must not pass for a whole one the next time.
  await rename(place, `${place}.${process.pid}`).then(() =>
    rm(`${place}.${process.pid}`, { recursive: true, force: true }),
  )
  return { missing: `${pinned} could not be installed by pip` }
}

test('schemathesis finds no 5xx and no answer that the OpenAPI document does not have', {
  timeout: 400_000,
}, async context => {
  const found = await schemathesis()
  if ('missing' in found) {
    if (process.env.CI === 'true') expect.fail(found.missing)
    if (process.env.WEFT_NOT_RUN)
      appendFileSync(process.env.WEFT_NOT_RUN, `schemathesis against the OpenAPI document: ${found.missing}\n`)
    return context.skip(found.missing)
  }
  const url = new URL('/openapi.json', it.url).href
  const { code, output } = await run(
    found.st,
    [
      ...['--config-file', join(here, 'schemathesis.toml'), 'run', url, '--seed', seed, '--max-examples', '60'],
      ...['--phases', 'examples,coverage,fuzzing', '--continue-on-failure'],
      // The document cannot say that a body has to be compressed as its header says.
      ...['--checks', 'all', '--exclude-checks', 'positive_data_acceptance'],
      ...['--header', 'Authorization: Bearer wk_aurora_test'],
    ],
    { SCHEMATHESIS_HOOKS: 'hooks', PYTHONPATH: here, PYTHONDONTWRITEBYTECODE: '1' },
  )
  expect(code, output).toBe(0)
  // Nothing generated would pass as well.
  expect(Number(/(\d+) generated/.exec(output)?.[1]), output).toBeGreaterThan(150)
})
