import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

const LOCAL = fileURLToPath(new URL('..', import.meta.url))
let root: string

/** A project with nothing to fetch, in which `weft` says how it was started and then does what its first word says. */
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'weft-bootstrap-'))
  await mkdir(path.join(root, 'local'))
  await mkdir(path.join(root, 'packages/cli/src'), { recursive: true })
  await cp(path.join(LOCAL, 'bootstrap.mjs'), path.join(root, 'local/bootstrap.mjs'))
  await cp(path.join(LOCAL, 'toolchain'), path.join(root, 'local/toolchain'), { recursive: true })
  await writeFile(
    path.join(root, 'package.json'),
    '{"name":"x","private":true,"dependencies":{"cli":"link:packages/cli"}}',
  )
  await writeFile(path.join(root, 'packages/cli/package.json'), '{"name":"cli","private":true,"type":"module"}')
  await writeFile(path.join(root, 'pnpm-workspace.yaml'), 'packages: []\n')
  await lockfile('')
  await writeFile(
    path.join(root, 'packages/cli/src/weft.ts'),
    `const [word, ...rest]: string[] = process.argv.slice(2)
if (word === 'wait') {
  process.on('SIGTERM', () => process.exit(0))
  setInterval(() => {}, 1000)
}
if (word === 'fail') process.exitCode = 7
console.log(JSON.stringify({ node: process.versions.node, word, rest, cwd: process.cwd() }))
`,
  )
})

afterAll(() => rm(root, { recursive: true, force: true }))

const lockfile = (comment: string) =>
  writeFile(
    path.join(root, 'pnpm-lock.yaml'),
    `${comment}lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n  excludeLinksFromLockfile: false\n\nimporters:\n\n  .:\n    dependencies:\n      cli:\n        specifier: link:packages/cli\n        version: link:packages/cli\n`,
  )

function start(
  args: string[],
  env: NodeJS.ProcessEnv = {},
): { child: ChildProcess; out: () => string; err: () => string } {
  const child = spawn(process.execPath, [path.join(root, 'local/bootstrap.mjs'), ...args], {
    env: { ...process.env, INIT_CWD: root, ...env },
  })
  const said = { out: '', err: '' }
  child.stdout?.on('data', data => {
    said.out += data
  })
  child.stderr?.on('data', data => {
    said.err += data
  })
  return { child, out: () => said.out, err: () => said.err }
}

async function run(...args: string[]) {
  const { child, out, err } = start(args)
  const [code] = await once(child, 'close')
  const line = out()
    .split('\n')
    .findLast(each => each.startsWith('{'))
  return { code, err: err(), started: line && JSON.parse(line) }
}

test('a first start installs, a second one only runs, and a new lockfile installs again', async () => {
  const first = await run('weft', 'say', '--json', 'two words')
  expect(first.err).toContain('weft: installing the dependencies\n')
  expect(first.err).toMatch(/weft: installed the dependencies in \d/)
  expect(first.code).toBe(0)
  expect(first.started).toMatchObject({ word: 'say', rest: ['--json', 'two words'] })
  expect(Number.parseInt(first.started.node, 10)).toBeGreaterThanOrEqual(24)

  expect(await run('weft', 'say')).toMatchObject({ code: 0, err: '' })

  await lockfile('# changed\n')
  expect((await run('weft', 'say')).err).toContain('installing the dependencies')
})

test('the exit code is kept', async () => {
  expect(await run('weft', 'fail')).toMatchObject({ code: 7, err: '' })
})

test('npm start runs "weft dev" with the arguments behind it', async () => {
  expect((await run('start', '--fresh')).started).toMatchObject({ word: 'dev', rest: ['--fresh'] })
})

test('a word that is not known is a usage error', async () => {
  const { code, err } = await run('strat')
  expect({ code, err }).toEqual({
    code: 2,
    err: 'weft: expected one of start, test, weft, bench, local, not "strat"\n',
  })
})

test('a signal is passed on, and the end waited for', async () => {
  const { child, out } = start(['weft', 'wait'])
  while (!out().includes('"wait"')) await once(child.stdout as NodeJS.EventEmitter, 'data')
  child.kill('SIGTERM')
  expect(await once(child, 'close')).toEqual([0, null])
})

test('an installation that is interrupted ends with that, also when pnpm will not', async () => {
  const folder = path.join(root, 'stubborn')
  await mkdir(folder)
  const { dependencies } = JSON.parse(await readFile(path.join(root, 'local/toolchain/package.json'), 'utf8'))
  const script = `#!${process.execPath}
if (process.argv[2] === '--version') console.log('${dependencies.pnpm}')
else {
  process.on('SIGINT', () => console.log('no'))
  console.log('at it')
  setInterval(() => {}, 1000)
}
`
  await writeFile(path.join(folder, 'pnpm'), script, { mode: 0o755 })
  await lockfile('# changed again\n')
  const { child, out, err } = start(['weft', 'say'], { PATH: `${folder}${path.delimiter}${process.env.PATH}` })
  while (!out().includes('at it')) await once(child.stdout as NodeJS.EventEmitter, 'data')
  child.kill('SIGINT')
  expect(await once(child, 'close')).toEqual([130, null])
  expect(err()).toBe('weft: installing the dependencies\n')
})

test('an installation that fails is one clear sentence after its own words', async () => {
  await writeFile(path.join(root, 'package.json'), '{"name":"x","private":true,"dependencies":{"zod":"1.0.0"}}')
  const { code, err } = await run('weft', 'say')
  expect(code).toBe(1)
  expect(err).toMatch(/weft: the dependencies could not be installed \(pnpm ended with 1\); its own words are above\n$/)
})
