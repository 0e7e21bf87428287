import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type HostProcess, hostProcess, isRunning } from './processes.ts'
import { WeftError } from './transport.ts'

const IDLE = Buffer.from('0')
const COMMITTING = Buffer.from('1')

/** So long whoever opens keeps commits waiting for one that does not end, and then lets them go on before it tries again. */
const patience = (attempt: number) => 50 * 2 ** Math.min(attempt, 5)
const TURN = 10
const OPEN_WITHIN = 30_000
const CLOSE_WITHIN = 2000
/**
 * So long a process of another namespace is taken for alive after it last touched its file: such a one is as a rule a
 * container that was killed, and whoever comes in its place waits so long.
 */
const UNSEEN = 5000

/**
 * Keeps openings of a store apart from commits and from each other, among all processes that use it.
 *
 * lmdb 3.5.6 opens an environment by reading the number of the last transaction from the file and writing it, without
 * any lock, to where all processes look for it (OpenLDAP's ITS#9496, mended there and not in lmdb's copy). What another
 * process commits between the two is taken back: the next transaction, of any process, has the same number, takes the
 * same pages and overwrites it. And the last process to close destroys the mutexes, under one that opens just then.
 *
 * Who opens or closes puts a file into `gate/opening`; who commits has one in `gate/committing` that says so. Everybody tells
 * first and looks then, so that of two at least one sees the other. Files are named after their processes, and those of
 * processes that are gone count for nothing.
 */
export class LmdbGate {
  readonly #directory: string
  readonly #opening: string
  readonly #committing: string
  readonly #name: string
  readonly #namespace: string
  #file: number | undefined

  constructor(directory: string, { pid, started, namespace }: HostProcess = hostProcess()) {
    this.#directory = directory
    this.#opening = join(directory, 'gate', 'opening')
    this.#committing = join(directory, 'gate', 'committing')
    this.#namespace = namespace.replaceAll(/\W/g, '')
    this.#name = [pid, started, this.#namespace, randomUUID().slice(0, 8)].join('-')
  }

  /**
   * Runs `open` while no process commits, opens or closes. UNAVAILABLE if another process does not come to the end of
   * it for half a minute, because it was stopped.
   */
  async open<T>(open: () => T): Promise<T> {
    const hindrance = await this.#claim(true, OPEN_WITHIN).catch(error => {
      throw this.#closed(error.message, error)
    })
    if (hindrance)
      throw this.#closed(
        `process ${processOf(hindrance).pid} is in the middle of a commit, or of opening it, and does not go on; let it go on, or end it (or remove the folder "gate", if this is a copy of a store that was in use)`,
      )
    try {
      return open()
    } finally {
      this.#release()
    }
  }

  /** Runs `close` while no process opens or closes, if that can be had; who commits is no hindrance. */
  async close(close: () => Promise<void>): Promise<void> {
    await this.#claim(false, CLOSE_WITHIN).catch(() => {})
    try {
      await close()
    } finally {
      this.#release()
      this.#forget()
    }
  }

  /** To be called before each commit, and waited for if it is not undefined: somebody is opening. */
  enter(): Promise<void> | undefined {
    this.#tell(COMMITTING)
    return existsSync(this.#opening) ? this.#giveWay() : undefined
  }

  /** To be called when commits have ended. */
  leave(): void {
    if (this.#file === undefined) return
    try {
      this.#tell(IDLE)
    } catch {
      // A disk that takes nothing takes files away.
      this.#forget()
    }
  }

  async #giveWay(): Promise<void> {
    while (this.#others(this.#opening).length > 0) {
      this.leave()
      await sleep(1)
      this.#tell(COMMITTING)
    }
    this.#clear()
  }

  /** Undefined when all others know that they must not, or who does not let it come to that within `ms`. */
  async #claim(withoutCommits: boolean, ms: number): Promise<string | undefined> {
    const end = performance.now() + ms
    for (let attempt = 0; ; ) {
      this.#announce()
      const opening = await this.#turn(patience(attempt))
      const hindrance = opening ?? (withoutCommits ? await this.#quiet(patience(attempt)) : undefined)
      if (!hindrance) return undefined
      this.#release()
      if (performance.now() > end) return hindrance
      await sleep(Math.random() * (opening ? TURN : patience(attempt++)))
    }
  }

  #release(): void {
    remove(join(this.#opening, this.#name))
    this.#clear()
  }

  /** Undefined when nobody else opens, or who does: of several that have told so, the first by name goes on. */
  async #turn(ms: number): Promise<string | undefined> {
    for (const end = performance.now() + ms; ; await sleep(1)) {
      const opening = this.#others(this.#opening)
      if (opening.length === 0 || performance.now() > end || opening.some(name => name < this.#name)) return opening[0]
    }
  }

  /** Undefined when nobody commits, or who still does. */
  async #quiet(ms: number): Promise<string | undefined> {
    for (const end = performance.now() + ms; ; await sleep(1)) {
      const committer = this.#committer()
      if (!committer || performance.now() > end) return committer
    }
  }

  #committer(): string | undefined {
    return this.#others(this.#committing).find(name => {
      try {
        return readFileSync(join(this.#committing, name)).equals(COMMITTING)
      } catch {
        return false
      }
    })
  }

  #announce(): void {
    for (;;) {
      mkdirSync(this.#opening, { recursive: true })
      try {
        writeFileSync(join(this.#opening, this.#name), '', { flag: 'wx' })
        return
      } catch (error) {
        // Somebody else cleared the folder away just then.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
  }

  /** The folder is there only while somebody opens, so that a look for it is all that a commit needs. */
  #clear(): void {
    try {
      rmdirSync(this.#opening)
    } catch {
      // Others are opening too.
    }
  }

  /** Whose files are there, without this one and those that are gone: their files are removed. */
  #others(folder: string): string[] {
    return namesIn(folder).filter(name => {
      if (name === this.#name) return false
      const live = this.#isLive(folder, name)
      if (!live) remove(join(folder, name))
      return live
    })
  }

  #isLive(folder: string, name: string): boolean {
    const { namespace, ...home } = processOf(name)
    if (namespace === this.#namespace) return isRunning({ namespace, ...home })
    const { mtimeMs } = statSync(join(folder, name), { throwIfNoEntry: false }) ?? { mtimeMs: 0 }
    return Math.abs(Date.now() - mtimeMs) < UNSEEN
  }

  #tell(state: Buffer): void {
    // Who can't see this process, or somebody by hand, may have taken the file away.
    if (this.#file !== undefined && fstatSync(this.#file).nlink === 0) this.#forget()
    if (this.#file === undefined) {
      mkdirSync(this.#committing, { recursive: true })
      this.#file = openSync(join(this.#committing, this.#name), 'w')
    }
    writeSync(this.#file, state, 0, 1, 0)
  }

  #forget(): void {
    if (this.#file === undefined) return
    closeSync(this.#file)
    this.#file = undefined
    remove(join(this.#committing, this.#name))
  }

  #closed(why: string, cause?: unknown): WeftError {
    return new WeftError('UNAVAILABLE', `the store in "${this.#directory}" can't be opened: ${why}`, { cause })
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // Of another user, or on a disk that became read-only: it counts for nothing when its process is gone.
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function processOf(name: string): HostProcess {
  const [pid, started = '', namespace = ''] = name.split('-')
  return { pid: Number(pid), started, namespace }
}
