/** `npm test`: format and lint, types, schemas, then every test; what could not run on this machine is told last. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const require = createRequire(import.meta.url)

async function binary(name: string, bin = name): Promise<string> {
  const manifest = require.resolve(`${name}/package.json`)
  const { bin: bins } = JSON.parse(await readFile(manifest, 'utf8'))
  return path.join(path.dirname(manifest), typeof bins === 'string' ? bins : bins[bin])
}

async function run(args: string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
    cwd: root,
    stdio: 'inherit',
    env,
  })
  const pass = (signal: NodeJS.Signals) => child.kill(signal)
  process.on('SIGINT', pass).on('SIGTERM', pass)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  child.once('error', reject).once('exit', (code, signal) => resolve(signal ? 130 : (code ?? 1)))
  try {
    return await promise
  } finally {
    process.off('SIGINT', pass).off('SIGTERM', pass)
  }
}

const say = (text: string) => process.stderr.write(`weft: ${text}\n`)
const only = process.argv.slice(2)
const folder = await mkdtemp(path.join(tmpdir(), 'weft-check-'))
const notRun = path.join(folder, 'not-run')
const steps: readonly (readonly [name: string, args: () => Promise<string[]>])[] = [
  ['format and lint (biome)', async () => [await binary('@biomejs/biome', 'biome'), 'check', '.']],
  ['types (tsc)', async () => [await binary('typescript', 'tsc'), '--noEmit']],
  ['schemas (weft schemas check)', async () => [path.join(root, 'packages/cli/src/weft.ts'), 'schemas', 'check']],
  ['tests (vitest)', async () => [await binary('vitest'), 'run', ...only]],
]

const failed: string[] = []
try {
  for (const [name, args] of only.length ? steps.slice(-1) : steps) {
    say(name)
    const code = await run(await args(), { ...process.env, WEFT_NOT_RUN: notRun })
    if (code !== 0) failed.push(code === 130 ? `${name} was stopped` : name)
    if (code === 130) break
  }
  const skipped = [...new Set((await readFile(notRun, 'utf8').catch(() => '')).split('\n').filter(Boolean))]
  for (const line of skipped) say(`not run on this machine: ${line}`)
  if (skipped.length && process.env.CI === 'true') failed.push('tests that CI must run were not run')
} finally {
  await rm(folder, { recursive: true, force: true })
}
if (failed.length) say(`failed: ${failed.join(', ')}`)
else say('all passed')
process.exitCode = failed.length ? 1 : 0
