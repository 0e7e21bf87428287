import { setTimeout as sleep } from 'node:timers/promises'
import type { Brokers } from './brokers.ts'
import type { Connection } from './connection.ts'
import { PulsarError } from './pulsar-error.ts'

export interface LinkOptions {
  readonly topic: string
  /** Registers with the broker that serves the topic now. Called again after each loss. */
  readonly attach: (connection: Connection) => Promise<void>
  /** It will not be attached again: the broker refused for good. */
  readonly failed: (error: PulsarError) => void
  /** Milliseconds: the first wait, doubled up to the longest, each with full jitter. */
  readonly minMs?: number
  readonly maxMs?: number
}

/** Keeps a producer or consumer attached to whichever broker serves its topic, for as long as the broker lets it. */
export class Link {
  connection: Connection | undefined
  readonly #brokers: Brokers
  readonly #options: LinkOptions
  readonly #closing = new AbortController()
  #lost = Promise.withResolvers<void>()

  constructor(brokers: Brokers, options: LinkOptions) {
    this.#brokers = brokers
    this.#options = options
  }

  /** Throws PulsarError: at once what does not pass by itself, the last failure when `timeoutMs` are over. */
  async open(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    await this.#attach(() => performance.now() < until)
    void this.#keep()
  }

  /** The connection is gone, or the broker closed what was attached: it is looked for anew. */
  lost(): void {
    this.connection = undefined
    this.#lost.resolve()
  }

  async #keep(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#lost.promise
      if (this.#closing.signal.aborted) return
      try {
        await this.#attach(() => true)
      } catch (error) {
        if (!this.#closing.signal.aborted) this.#options.failed(error as PulsarError)
        return
      }
    }
  }

  async #attach(more: () => boolean): Promise<void> {
    const { topic, attach, minMs = 50, maxMs = 10_000 } = this.#options
    const { signal } = this.#closing
    for (let attempt = 0; ; attempt++) {
      this.#lost = Promise.withResolvers()
      try {
        if (signal.aborted) throw new PulsarError('Closed', `${topic}: closed`)
        const connection = await this.#brokers.of(topic)
        await attach(connection)
        if (signal.aborted) throw new PulsarError('Closed', `${topic}: closed`)
        this.connection = connection
        return
      } catch (cause) {
        const error =
          cause instanceof PulsarError ? cause : new PulsarError('UnknownError', `${topic}: ${cause}`, { cause })
        if (signal.aborted || !error.retryable || !more()) throw error
        const ms = Math.random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt, 20))
        await sleep(ms, undefined, { signal }).catch(() => {})
      }
    }
  }

  close(): void {
    this.#closing.abort()
    this.#lost.resolve()
  }
}
