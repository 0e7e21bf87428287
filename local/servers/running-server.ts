import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A server that was started from a folder, which holds its data, its log and who it is. */
export interface ServerProcess {
  readonly pid: number
  /** Tells the process from a later one with the same id. */
  readonly started: string
  readonly url: string
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
  url: string,
  ready: () => Promise<boolean>,
): Promise<ServerProcess> {
  mkdirSync(folder, { recursive: true })
  const log = openSync(logOf(folder), 'a')
  const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log], cwd: folder })
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
  const server = { pid: child.pid, started: startOf(child.pid), url }
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

/** Whether somebody listens on a port of this machine. */
export async function listens(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect(port, '127.0.0.1')
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  return promise.finally(() => socket.destroy())
}

/**
 * Ports that are free now. They lie below those that systems give to outgoing connections, so that none of these takes
 * one before its server does.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(10_240, 32_768)
    const server = createServer()
    const { promise, resolve } = Promise.withResolvers<boolean>()
    server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
    if (await promise) {
      ports.add(port)
      await new Promise(closed => server.close(closed))
    }
  }
  return [...ports]
}
