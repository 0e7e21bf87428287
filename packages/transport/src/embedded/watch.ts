import type { Store } from './store.ts'

const SHORTEST = 2
const LONGEST = 20
const LONGEST_TIMER = 2 ** 31 - 1

/** What a transaction changed: partitions that grew, and groups whose members or owners changed. */
export interface Changes {
  /** The store's version behind it. */
  readonly version: number
  readonly keys: ReadonlySet<number>
}

/** Numbers that tell what somebody waits for. */
export const partitionKey = (topic: number, partition: number): number => topic * 65_536 + partition
export const groupKey = (group: number): number => -group

/**
 * Wakes whoever waits for something new in the store: at once for commits of this process, by a poll of the store's
 * version for those of others. The poll runs only while somebody waits, and slows down when nothing happens.
 */
export class Watch {
  readonly #store: Store
  readonly #waiting = new Map<number, Set<() => void>>()
  #count = 0
  #version = -1
  #timer: NodeJS.Timeout | undefined
  #wait = LONGEST
  #closed = false

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Resolves when one of the keys may have changed, when the signal aborts, or after `ms`. To be called in the turn that
   * looked: what changes behind that look is not missed.
   */
  next(keys: readonly number[], signal: AbortSignal, ms?: number): Promise<void> {
    return new Promise(resolve => {
      if (signal.aborted || this.#closed) return resolve()
      let timer: NodeJS.Timeout | undefined
      const done = () => {
        for (const key of keys) this.#waiting.get(key)?.delete(done)
        this.#count--
        signal.removeEventListener('abort', done)
        clearTimeout(timer)
        resolve()
      }
      if (ms !== undefined) timer = setTimeout(done, Math.min(ms, LONGEST_TIMER))
      for (const key of keys) {
        const waiting = this.#waiting.get(key)
        if (waiting) waiting.add(done)
        else this.#waiting.set(key, new Set([done]))
      }
      this.#count++
      signal.addEventListener('abort', done)
      this.#timer ??= setTimeout(this.#poll, this.#wait)
    })
  }

  /** To be called after each commit of this process. */
  committed({ version, keys }: Changes): void {
    this.#store.root.resetReadTxn()
    if (version === this.#version + 1) {
      this.#version = version
      for (const key of keys) this.#wake(this.#waiting.get(key))
    } else {
      this.#version = version
      this.#wakeAll()
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const waiting of this.#waiting.values()) this.#wake(waiting)
  }

  #wake(waiting: Set<() => void> | undefined): void {
    if (waiting && waiting.size > 0) for (const wake of [...waiting]) wake()
  }

  #poll = (): void => {
    this.#timer = undefined
    if (this.#count === 0) return
    this.#store.root.resetReadTxn()
    const version = this.#store.version()
    if (version === this.#version) this.#wait = Math.min(this.#wait * 1.5, LONGEST)
    else {
      this.#version = version
      this.#wait = SHORTEST
      this.#wakeAll()
    }
    if (this.#count > 0) this.#timer ??= setTimeout(this.#poll, this.#wait)
  }
}
