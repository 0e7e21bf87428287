import { KEY } from './keys.ts'
import type { Store } from './store.ts'

const SHORTEST = 2
const LONGEST = 20

/**
 * Wakes whoever waits for something new in the store: at once for commits of this process, by a poll of the store's
 * version for those of others. The poll runs only while somebody waits, and slows down when nothing happens.
 */
export class Watch {
  readonly #store: Store
  readonly #waiting = new Set<() => void>()
  #version = -1
  #timer: NodeJS.Timeout | undefined
  #wait = LONGEST
  #closed = false
  readonly #unlisten: () => void

  constructor(store: Store) {
    this.#store = store
    this.#unlisten = store.committer.onCommit(() => this.#wake())
  }

  /** Resolves at the next change, when the signal aborts, or after `ms`. Call it in the turn that read. */
  next(signal: AbortSignal, ms?: number): Promise<void> {
    return new Promise(resolve => {
      if (signal.aborted || this.#closed) return resolve()
      let timer: NodeJS.Timeout | undefined
      const done = () => {
        this.#waiting.delete(done)
        signal.removeEventListener('abort', done)
        clearTimeout(timer)
        resolve()
      }
      if (ms !== undefined) timer = setTimeout(done, ms)
      this.#waiting.add(done)
      signal.addEventListener('abort', done)
      this.#timer ??= setTimeout(this.#poll, this.#wait)
    })
  }

  close(): void {
    this.#closed = true
    this.#unlisten()
    clearTimeout(this.#timer)
    for (const wake of [...this.#waiting]) wake()
  }

  #wake(): void {
    this.#store.root.resetReadTxn()
    for (const wake of [...this.#waiting]) wake()
  }

  #poll = (): void => {
    this.#timer = undefined
    if (this.#waiting.size === 0) return
    this.#store.root.resetReadTxn()
    const version = this.#store.number(KEY.version) ?? 0
    if (version === this.#version) this.#wait = Math.min(this.#wait * 1.5, LONGEST)
    else {
      this.#version = version
      this.#wait = SHORTEST
      for (const wake of [...this.#waiting]) wake()
    }
    if (this.#waiting.size > 0) this.#timer ??= setTimeout(this.#poll, this.#wait)
  }
}
