import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What every server can be started with. */
export interface ServerOptions {
  /** Where its data, log and process note are; what is there is used again. */
  readonly folder: string
  /** Where it listens; what is not named here is where it was before, or where it is free. */
  readonly ports?: Readonly<Record<string, number>>
  readonly heapMb?: number
  /** Hears what takes time. */
  readonly say?: (text: string) => void
}

/** A server that was started from a folder, which holds its data, its log and who it is. */
export interface ServerProcess {
  readonly pid: number
  /** Tells the process from a later one with the same id. */
  readonly started: string
  readonly url: string
  /** What else to know: other addresses, credentials. By what it is. */
  readonly also?: Readonly<Record<string, string>>
}

const note = (folder: string) => path.join(folder, 'process.json')
export const logOf = (folder: string): string => path.join(folder, 'server.log')

/** The server of a folder, if it runs. */
export function running(folder: string): ServerProcess | undefined {
  try {
    const found: ServerProcess = JSON.parse(readFileSync(note(folder), 'utf8'))
    return found.started === startOf(found.pid) ? found : undefined
  } catch {
    return undefined
  }
}

/** Starts a command that outlives this process; resolves when `ready` does, rejects with its last words if it ends before. */
export async function launch(
  folder: string,
  [command, ...args]: readonly [string, ...string[]],
  about: Pick<ServerProcess, 'url' | 'also'>,
  ready: () => Promise<boolean>,
  env: NodeJS.ProcessEnv = {},
): Promise<ServerProcess> {
  mkdirSync(folder, { recursive: true })
  const log = openSync(logOf(folder), 'a')
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: folder,
    env: { ...process.env, ...env },
  })
  closeSync(log)
  child.unref()
  let ended = false
  child.once('error', () => {
    ended = true
  })
  child.once('exit', () => {
    ended = true
  })
  if (child.pid === undefined) throw new Error(`${command} could not be started`)
  const server = { pid: child.pid, started: startOf(child.pid), ...about }
  writeFileSync(note(folder), JSON.stringify(server))
  const end = performance.now() + 120_000
  while (!(await ready())) {
    if (ended) throw new Error(`the server ended while it was starting; its last words:\n${lastWords(folder)}`)
    if (performance.now() > end) {
      await stop(folder)
      throw new Error(`the server was not ready after two minutes; its last words:\n${lastWords(folder)}`)
    }
    await sleep(100)
  }
  return server
}

export const lastWords = (folder: string, lines = 15): string =>
  existsSync(logOf(folder)) ? readFileSync(logOf(folder), 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : ''

/** Ends the server of a folder, if it runs: asks, and insists after `graceMs`. False if there was none. */
export async function stop(
  folder: string,
  { signal = 'SIGTERM' as NodeJS.Signals, graceMs = 20_000 } = {},
): Promise<boolean> {
  const server = running(folder)
  if (!server) return false
  process.kill(server.pid, signal)
  const end = performance.now() + graceMs
  while (running(folder)) {
    if (performance.now() > end) process.kill(server.pid, 'SIGKILL')
    await sleep(50)
  }
  rmSync(note(folder), { force: true })
  return true
}

/** Ends the server of a folder at once, if it runs, without waiting for it. */
export function kill(folder: string): void {
  const server = running(folder)
  if (server) process.kill(server.pid, 'SIGKILL')
}

/** When a process began, in the kernel's own count; empty if there is no such process. */
function startOf(pid: number): string {
  try {
    process.kill(pid, 0)
  } catch {
    return ''
  }
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop()?.split(' ') ?? []
    return fields[0] === 'Z' ? '' : (fields[19] ?? '')
  } catch {
    // No /proc here: its id has to do.
    return 'running'
  }
}

/** The first bytes, at least `least`, that a server on this machine answers a request with; undefined if not in a second. */
export async function answered(port: number, request: Uint8Array, least: number): Promise<Buffer | undefined> {
  const socket = connect({ port, host: '127.0.0.1', signal: AbortSignal.timeout(1_000) })
  try {
    socket.write(request)
    let answer = Buffer.alloc(0)
    for await (const data of socket) {
      answer = Buffer.concat([answer, data])
      if (answer.length >= least) return answer
    }
    return undefined
  } catch {
    return undefined
  } finally {
    socket.destroy()
  }
}

/** Whether an address answers a GET with 200. */
export async function answersOk(url: string, headers: Record<string, string> = {}): Promise<boolean> {
  try {
    const answer = await fetch(url, { headers, signal: AbortSignal.timeout(2_000) })
    await answer.body?.cancel()
    return answer.status === 200
  } catch {
    return false
  }
}
