import { setImmediate as immediate } from 'node:timers/promises'
import type { Database } from 'lmdb'
import { Bloom } from './bloom.ts'

/** Keys read in a turn of the event loop. */
const SLICE = 1000
/** So often it is looked whether another process wrote ids that are not in the log yet. */
const LOOK_MS = 10
/** So long after the last time that happened the filter is made anew. */
const QUIET_MS = 30_000

/**
 * Answers for nearly every new id that lmdb does not have it, without asking lmdb. That is sound although several processes
 * write one index, because every id of the log passes through each one's own reading of it, and is added here then; the
 * others are ids that a process keeps because they wait elsewhere to get into the log, and whoever writes such puts a
 * mark: while the mark changes everything is asked of lmdb. The same goes until all that is there was read once.
 */
export class KnownIds implements Disposable {
  readonly #ids: Database<number, string>
  readonly #mark: () => unknown
  readonly #windowMs: number
  #bloom: Bloom
  #seenMark: unknown
  #complete = false
  #lookedAt = 0
  #loading: NodeJS.Timeout | undefined
  #disposed = false

  constructor(ids: Database<number, string>, mark: () => unknown, windowMs: number) {
    this.#ids = ids
    this.#mark = mark
    this.#windowMs = windowMs
    this.#bloom = new Bloom(windowMs)
    this.#begin()
  }

  add(key: string): void {
    this.#bloom.add(key)
  }

  /** The time that lmdb has for it. `now` as of Date. */
  get(key: string, now: number): number | undefined {
    if (Math.abs(now - this.#lookedAt) >= LOOK_MS) this.#look(now)
    return this.#complete && !this.#bloom.mayHave(key) ? undefined : this.#ids.get(key)
  }

  #look(now: number): void {
    this.#lookedAt = now
    if (this.#mark() !== this.#seenMark) this.#begin(QUIET_MS)
  }

  #begin(afterMs = 0): void {
    clearTimeout(this.#loading)
    this.#complete = false
    this.#seenMark = this.#mark()
    this.#loading = setTimeout(() => {
      this.#bloom = new Bloom(this.#windowMs)
      this.#load(this.#bloom).catch(() => this.#begin(QUIET_MS))
    }, afterMs)
    this.#loading.unref()
  }

  async #load(bloom: Bloom): Promise<void> {
    const mark = this.#seenMark
    let start: string | undefined
    for (let read = SLICE; read === SLICE; ) {
      if (this.#disposed || bloom !== this.#bloom) return
      read = 0
      for (const key of this.#ids.getKeys({ ...(start !== undefined && { start }), limit: SLICE })) {
        bloom.add(key)
        start = key
        read++
      }
      await immediate()
    }
    this.#complete = bloom === this.#bloom && mark === this.#seenMark
  }

  [Symbol.dispose](): void {
    this.#disposed = true
    clearTimeout(this.#loading)
  }
}
