import type { Message, Position, Topic, Transport } from '@weft/transport'
import { DrainRate } from './drain-rate.ts'
import { appendSeconds, batchEvents } from './metrics.ts'

export interface AppenderOptions {
  readonly transport: Transport
  readonly topic: Topic
  /** Bytes in one append. Default 1 MiB. */
  readonly maxBytes?: number
  /** Appends under way at once: while they are, what comes is gathered for the next. Default 1. */
  readonly concurrency?: number
  readonly onAppended?: () => void
}

interface Waiting {
  readonly messages: readonly Message[]
  readonly bytes: number
  readonly resolve: (positions: readonly Position[]) => void
  readonly reject: (error: unknown) => void
}

/**
 * Gathers what concurrent requests append. Under load each append carries all that came while the last ones were under
 * way, taken from the tenants in turn, so that whoever sends little never waits for all of whoever sends much.
 */
export class Appender {
  readonly #transport: Transport
  readonly #topic: Topic
  readonly #maxBytes: number
  readonly #concurrency: number
  readonly #onAppended: (() => void) | undefined
  /** In the order of whose turn it is. */
  readonly #queues = new Map<string, Waiting[]>()
  #underWay = 0
  #scheduled = false
  #idle: PromiseWithResolvers<void> | undefined
  /** How fast the log takes bytes. */
  readonly drain = new DrainRate()

  constructor({ transport, topic, maxBytes = 1 << 20, concurrency = 1, onAppended }: AppenderOptions) {
    this.#transport = transport
    this.#topic = topic
    this.#maxBytes = maxBytes
    this.#concurrency = concurrency
    this.#onAppended = onAppended
  }

  /** Rejects with what the transport rejects with; then none of the messages is promised to be there. */
  append(tenant: string, messages: readonly Message[], bytes: number): Promise<readonly Position[]> {
    return new Promise((resolve, reject) => {
      const waiting = { messages, bytes, resolve, reject }
      const queue = this.#queues.get(tenant)
      if (queue) queue.push(waiting)
      else this.#queues.set(tenant, [waiting])
      if (this.#scheduled) return
      this.#scheduled = true
      // Once per turn of the event loop: all requests that were parsed in it go together.
      setImmediate(() => {
        this.#scheduled = false
        this.#next()
      })
    })
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.#underWay === 0 && this.#queues.size === 0) return Promise.resolve()
    this.#idle ??= Promise.withResolvers<void>()
    return this.#idle.promise
  }

  #next(): void {
    while (this.#underWay < this.#concurrency && this.#queues.size > 0) void this.#send(this.#gather())
    if (this.#underWay === 0) this.#idle?.resolve()
  }

  #gather(): Waiting[] {
    const taken: Waiting[] = []
    let bytes = 0
    while (this.#queues.size > 0) {
      for (const [tenant, queue] of this.#queues) {
        const first = queue[0] as Waiting
        if (taken.length > 0 && bytes + first.bytes > this.#maxBytes) return taken
        queue.shift()
        bytes += first.bytes
        taken.push(first)
        // To the end of the line, so that the next append begins with another.
        this.#queues.delete(tenant)
        if (queue.length > 0) this.#queues.set(tenant, queue)
      }
    }
    return taken
  }

  async #send(taken: readonly Waiting[]): Promise<void> {
    this.#underWay++
    const started = performance.now()
    const messages = taken.length === 1 ? (taken[0] as Waiting).messages : taken.flatMap(({ messages }) => messages)
    try {
      const positions = await this.#transport.append(this.#topic, messages)
      this.#onAppended?.()
      let from = 0
      let bytes = 0
      for (const waiting of taken) {
        waiting.resolve(positions.slice(from, from + waiting.messages.length))
        from += waiting.messages.length
        bytes += waiting.bytes
      }
      this.drain.took(bytes, started, performance.now())
      batchEvents.observe(messages.length)
    } catch (error) {
      for (const { reject } of taken) reject(error)
    } finally {
      appendSeconds.observe((performance.now() - started) / 1000)
      this.#underWay--
      this.#next()
    }
  }
}
