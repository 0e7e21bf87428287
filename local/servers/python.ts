import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Missing } from './jars.ts'

const cache = fileURLToPath(new URL('../../node_modules/.cache/weft-python/', import.meta.url))

/** The python of a virtual environment that has what a requirements file pins; made once and kept. Missing if that fails. */
export async function pythonWith(requirements: string): Promise<string> {
  const version = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12)
  const folder = path.join(cache, version)
  const python = path.join(folder, 'bin', 'python')
  // A folder with this name is whole; that the machine's own Python was exchanged since shows by running it.
  if (existsSync(python) && spawnSync(python, ['-c', '']).status === 0) return python
  if (spawnSync('python3', ['-c', 'import venv, ensurepip']).status !== 0)
    throw new Missing('there is no python3 with venv: install python3 and python3-venv')
  rmSync(folder, { recursive: true, force: true })
  const fresh = `${folder}.${process.pid}`
  mkdirSync(cache, { recursive: true })
  try {
    await run('python3', ['-m', 'venv', fresh])
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]
    await run(path.join(fresh, 'bin', 'python'), pip)
    renameSync(fresh, folder)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return python
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', text => {
      output = (output + text).slice(-2_000)
    })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  if ((await promise) === 0) return
  throw new Missing(`${args[1]} of Python failed: ${output.trim().split('\n').at(-1)}`)
}
