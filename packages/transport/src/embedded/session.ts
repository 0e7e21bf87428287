import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, readlinkSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** A process that uses the store, as other processes see it. */
export interface Process {
  readonly session: string
  readonly pid: number
  /** Tells a process from a later one with the same id; empty where the system doesn't say. */
  readonly started: string
  /** Process ids mean something only within one namespace. */
  readonly namespace: string
}

/**
 * The heartbeat of this process: a file of its own, written in place and never synced, which holds the host's monotonic
 * clock. It costs no transaction, and other processes judge it by the same clock.
 */
export class Session {
  readonly process: Process
  readonly #folder: string
  #file: number | undefined
  #timer: NodeJS.Timeout | undefined
  #every = Number.POSITIVE_INFINITY

  constructor(directory: string) {
    this.#folder = join(directory, 'sessions')
    const session = randomUUID()
    this.process = { session, pid: process.pid, started: startOf(process.pid), namespace: namespaceOf() }
  }

  /** Beats at least five times in `sessionMs` from now on. */
  beat(sessionMs: number): void {
    if (this.#file === undefined) {
      mkdirSync(this.#folder, { recursive: true })
      this.#file = openSync(join(this.#folder, this.process.session), 'w')
    }
    if (sessionMs / 5 >= this.#every) return
    this.#every = sessionMs / 5
    clearInterval(this.#timer)
    this.#timer = setInterval(this.#write, this.#every).unref()
    this.#write()
  }

  #write = (): void => {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeDoubleLE(monotonic())
    if (this.#file !== undefined) writeSync(this.#file, bytes, 0, 8, 0)
  }

  /** Dead at once when its process on this host is gone, else when it did not beat for `sessionMs`. */
  isLive(other: Process, sessionMs: number): boolean {
    if (other.session === this.process.session) return this.#file !== undefined
    if (other.namespace === this.process.namespace && !isRunning(other)) return this.#forget(other)
    try {
      const bytes = readFileSync(join(this.#folder, other.session))
      if (bytes.length < 8) return true
      const age = monotonic() - bytes.readDoubleLE(0)
      return age < sessionMs && age > -1000
    } catch {
      return false
    }
  }

  #forget(other: Process): false {
    rmSync(join(this.#folder, other.session), { force: true })
    return false
  }

  close(): void {
    clearInterval(this.#timer)
    if (this.#file === undefined) return
    closeSync(this.#file)
    this.#file = undefined
    rmSync(join(this.#folder, this.process.session), { force: true })
  }
}

const monotonic = (): number => Number(process.hrtime.bigint() / 1_000_000n)

function isRunning({ pid, started }: Process): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  return startOf(pid) === started
}

/** Field 22 of /proc/PID/stat; a zombie process counts as gone. */
function startOf(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').pop()?.split(' ') ?? []
    return fields[0] === 'Z' ? 'gone' : (fields[19] ?? '')
  } catch {
    return ''
  }
}

function namespaceOf(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return process.platform
  }
}
