import type { Database, RootDatabase } from 'lmdb'
import { Problem } from './problem.ts'
import { sweep } from './sweep.ts'
import { written } from './written.ts'

export const ANSWERS = { name: 'answers' }

/** What a request was answered. */
export interface Answer {
  readonly status: number
  /** JSON text. */
  readonly body: string
}

export const reused = (): Problem =>
  new Problem('idempotency_key_reused', 'this Idempotency-Key was used with another body: take a new one')

export const inFlight = (): Problem =>
  new Problem('idempotency_key_in_flight', 'a request with this Idempotency-Key is still being worked on', {
    retryAfter: 1,
  })

interface Entry {
  /** Hash of the request's body. */
  readonly hash: string
  /** When the key was first used, milliseconds since the epoch. */
  readonly at: number
  /** Missing while in flight, and for good if the request ended without an answer that can be given again. */
  readonly answer?: Answer
}

/**
 * Idempotency-Key of requests: the same key and body get the same answer for `windowMs`. The hash of the body is kept
 * before anything is appended: also after a crash the key cannot bring another body, and the same one is worked on
 * again, where the event ids tell what the log has already.
 */
export class IdempotencyKeys implements Disposable {
  readonly #entries: Database<Entry, string>
  readonly #inFlight = new Set<string>()
  readonly #windowMs: number
  readonly #sweep: Disposable

  constructor(environment: RootDatabase, windowMs: number) {
    this.#entries = environment.openDB(ANSWERS)
    this.#windowMs = windowMs
    this.#sweep = sweep(this.#entries, ({ at }) => at < Date.now() - windowMs)
  }

  /**
   * The answer to give again, or undefined and the key is the caller's until `end`. Problem idempotency_key_reused for
   * another body, idempotency_key_in_flight while the first request is not answered.
   */
  async begin(tenant: string, key: string, hash: string): Promise<Answer | undefined> {
    const known = this.look(tenant, key, hash)
    if (known) return known
    const name = `${tenant}/${key}`
    this.#inFlight.add(name)
    try {
      await written(this.#entries.put(name, { hash, at: Date.now() }))
      return undefined
    } catch (cause) {
      this.#inFlight.delete(name)
      throw new Problem('log_unavailable', 'the Idempotency-Key cannot be kept at the moment; nothing was stored', {
        retryAfter: 1,
        cause,
      })
    }
  }

  /** The same without taking the key. */
  look(tenant: string, key: string, hash: string): Answer | undefined {
    const name = `${tenant}/${key}`
    const entry = this.#entries.get(name)
    if (entry && entry.at >= Date.now() - this.#windowMs) {
      if (entry.hash !== hash) throw reused()
      if (entry.answer) return entry.answer
    }
    if (this.#inFlight.has(name)) throw inFlight()
    return undefined
  }

  /** Without an answer the next request with this key and body is worked on anew. */
  async end(tenant: string, key: string, hash: string, answer: Answer | undefined): Promise<void> {
    const name = `${tenant}/${key}`
    try {
      if (answer) await written(this.#entries.put(name, { hash, at: Date.now(), answer }))
    } finally {
      this.#inFlight.delete(name)
    }
  }

  [Symbol.dispose](): void {
    this.#sweep[Symbol.dispose]()
  }
}
