import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const WEFT = fileURLToPath(new URL('../src/weft.ts', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** A `weft` process, as a user starts it, or one of another script. */
export class Weft implements AsyncDisposable {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  out = ''
  err = ''
  #grew = Promise.withResolvers<void>()

  constructor(args: readonly string[], options: { cwd: string; env?: NodeJS.ProcessEnv; script?: string }) {
    const { cwd, env = {}, script = WEFT } = options
    const flags = ['--disable-warning=ExperimentalWarning', script, ...args]
    this.child = spawn(process.execPath, flags, {
      cwd,
      env: { ...clean(process.env), NO_COLOR: '1', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.child.stdout?.setEncoding('utf8').on('data', text => this.#grow('out', text))
    this.child.stderr?.setEncoding('utf8').on('data', text => this.#grow('err', text))
    this.ended = once(this.child, 'close').then(([code]) => {
      this.#grew.resolve()
      return { code, out: this.out, err: this.err }
    })
  }

  #grow(stream: 'out' | 'err', text: string): void {
    this[stream] += text
    this.#grew.resolve()
    this.#grew = Promise.withResolvers()
  }

  /** Waits until the output matches; throws with all there was if the process ends first. */
  async says(pattern: RegExp, stream: 'out' | 'err' = 'out'): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this[stream])
      if (found) return found
      const over = await Promise.race([this.ended, this.#grew.promise])
      if (over && !pattern.test(this[stream]))
        throw new Error(`ended with ${over.code} and never said ${pattern}:\n${over.out}\n${over.err}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL')
    await this.ended
  }
}

/** Nothing of the outer configuration reaches the process. */
const clean = (env: NodeJS.ProcessEnv) =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !/^(WEFT_|OTEL_|LOG_LEVEL|FORCE_COLOR|VITEST)/.test(name)))

/** Runs one command to its end. */
export async function weft(cwd: string, args: readonly string[], input = '', env?: NodeJS.ProcessEnv): Promise<Ended> {
  await using process = new Weft(args, { cwd, ...(env && { env }) })
  process.child.stdin?.on('error', () => {}).end(input)
  return await process.ended
}

export interface Folder extends AsyncDisposable {
  readonly path: string
}

export async function temporary(): Promise<Folder> {
  const folder = await mkdtemp(path.join(tmpdir(), 'weft-cli-'))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

/** A server on a port that is then in use. */
export async function taken(): Promise<AsyncDisposable & { port: number }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}

export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line))
