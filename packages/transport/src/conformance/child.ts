import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { PATIENCE, until } from './observe.ts'

/**
 * A real process at work on the cluster. What it tells is written to a pipe before it goes on, so that its last
 * words survive SIGKILL: each line is [event, ...details] in JSON.
 */
export interface Child extends AsyncDisposable {
  readonly told: readonly Told[]
  /** The details of all events of a kind, in order. */
  of(event: string): unknown[][]
  /** The first event of a kind, waited for. */
  first(event: string): Promise<unknown[]>
  /** Sends a line to the program. */
  say(line: string): void
  /** SIGSTOP and SIGCONT. */
  stop(): void
  resume(): void
  /**
   * SIGSTOP, and SIGCONT that many milliseconds later, both by a process of its own: whatever the sleeper holds up, it
   * will wake.
   */
  sleep(ms: number): Promise<void>
  /** SIGKILL, and all that it told before is there. */
  kill(): Promise<void>
  /** Resolves when the program has ended by itself; rejects if it failed. */
  ended(): Promise<void>
}

export type Told = readonly [event: string, ...details: unknown[]]

export function spawnProgram(program: string, input: object): Child {
  const file = fileURLToPath(new URL(`programs/${program}.ts`, import.meta.url))
  const { NODE_OPTIONS: _, ...env } = process.env
  const flags = ['--expose-gc', '--disable-warning=ExperimentalWarning']
  env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache')
  const child = spawn(process.execPath, [...flags, file, JSON.stringify(input)], { env })
  const told: Told[] = []
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', data => {
    complaint += data
  })
  child.stdin.on('error', () => {})
  const lines = createInterface({ input: child.stdout })
  lines.on('line', line => {
    // A line cut off by SIGKILL was never told.
    try {
      told.push(JSON.parse(line))
    } catch {}
  })
  const closed = Promise.all([once(child, 'close'), once(lines, 'close')])
  let killed = false
  const failed = () => {
    const reason = child.exitCode || (killed ? undefined : child.signalCode)
    if (reason) throw new Error(`${program} failed with ${reason}: ${complaint}`)
  }
  const kill = async () => {
    failed()
    killed = true
    child.kill('SIGKILL')
    await closed
    failed()
  }
  return {
    told,
    of: event => told.filter(each => each[0] === event).map(([, ...details]) => details),
    async first(event) {
      // Loading its modules alone takes a process most of a second of the processor, and a busy machine gives it little.
      const patience = told.length > 0 ? PATIENCE : 2 * PATIENCE
      const said = () => {
        failed()
        return told.find(each => each[0] === event)?.slice(1)
      }
      const found = until(`${program} tells "${event}"`, said, patience)
      return found.catch(error => {
        throw complaint ? new Error(`${error.message}; it complained: ${complaint}`) : error
      })
    },
    say: line => void child.stdin.write(`${line}\n`),
    stop: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async sleep(ms) {
      const nap = spawn('/bin/sh', ['-c', `kill -STOP ${child.pid}; sleep ${ms / 1000}; kill -CONT ${child.pid}`])
      await once(nap, 'close')
    },
    kill,
    async ended() {
      await closed
      failed()
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await closed
    },
  }
}
