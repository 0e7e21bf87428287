import { randomUUID } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { type HostProcess, hostProcess, isRunning } from '../processes.ts'

/** A process that uses the store, as other processes see it. */
export interface Process extends HostProcess {
  readonly session: string
}

/**
 * The heartbeat of this process: a file of its own with the host's monotonic clock, written in place and never synced,
 * and the members that live in it. It costs no transaction, and other processes judge it by the same clock.
 */
export class Session {
  readonly process: Process
  readonly #folder: string
  readonly path: string
  readonly #members = new Set<string>()
  #file: number | undefined
  #timer: NodeJS.Timeout | undefined
  #every = Number.POSITIVE_INFINITY

  constructor(directory: string) {
    this.#folder = join(directory, 'sessions')
    const session = randomUUID()
    this.path = join(this.#folder, session)
    this.process = { session, ...hostProcess() }
  }

  /** Shows the member as live from now on, beating at least five times in `sessionMs`. */
  enter(member: string, sessionMs: number): void {
    this.#members.add(member)
    this.#list()
    if (sessionMs / 5 >= this.#every) return
    this.#every = sessionMs / 5
    clearInterval(this.#timer)
    this.#timer = setInterval(this.#beat, this.#every).unref()
  }

  leave(member: string): void {
    if (!this.#members.delete(member)) return
    try {
      this.#list()
    } catch {
      // A full disk: whoever reads the old list takes the member for live until the process ends.
    }
  }

  /** Replaces the file, so that nobody reads half a list. */
  #list(): void {
    mkdirSync(this.#folder, { recursive: true })
    const temporary = `${this.path}.new`
    writeFileSync(temporary, Buffer.concat([now(), Buffer.from([...this.#members].join(' '))]))
    if (this.#file !== undefined) closeSync(this.#file)
    renameSync(temporary, this.path)
    this.#file = openSync(this.path, 'r+')
  }

  #beat = (): void => {
    try {
      if (this.#file !== undefined) writeSync(this.#file, now(), 0, 8, 0)
    } catch {
      // Whoever can't beat is taken for dead, and is fenced: that is what the beat is for.
    }
  }

  /** Dead at once when it left or its process on this host is gone, else when it did not beat for `sessionMs`. */
  isLive(member: string, home: Process, sessionMs: number): boolean {
    if (home.session === this.process.session) return this.#members.has(member)
    if (home.namespace === this.process.namespace && !isRunning(home)) return false
    try {
      const bytes = readFileSync(join(this.#folder, home.session))
      const age = monotonic() - bytes.readDoubleLE(0)
      return age < sessionMs && age > -1000 && bytes.toString('latin1', 8).includes(member)
    } catch {
      return false
    }
  }

  /** Removes the files of processes that are long gone. */
  sweep(): void {
    for (const name of readdirSync(this.#folder)) {
      const path = join(this.#folder, name)
      if (Date.now() - statSync(path).mtimeMs > FORGOTTEN) rmSync(path, { force: true })
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#members.clear()
    if (this.#file === undefined) return
    closeSync(this.#file)
    this.#file = undefined
    rmSync(this.path, { force: true })
  }
}

const FORGOTTEN = 24 * 3_600_000

const now = (): Buffer => {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(monotonic())
  return bytes
}

const monotonic = (): number => Number(process.hrtime.bigint() / 1_000_000n)
