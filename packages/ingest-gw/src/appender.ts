import type { Message, Position, Topic } from '@weft/transport'
import { DrainRate } from './drain-rate.ts'
import { appendSeconds, batchEvents } from './metrics.ts'

/** A transport, or what stands before it. */
export interface Log {
  /** Positions, or undefined: the messages are kept durably and get into the log later. */
  append(topic: Topic, messages: readonly Message[]): Promise<readonly Position[] | undefined>
}

export interface AppenderOptions {
  readonly log: Log
  readonly topic: Topic
  /** Bytes in one append. Default 1 MiB. */
  readonly maxBytes?: number
  readonly onAppended?: () => void
}

interface Waiting {
  readonly messages: readonly Message[]
  readonly bytes: number
  readonly resolve: (positions: readonly Position[] | undefined) => void
  readonly reject: (error: unknown) => void
}

/**
 * Gathers what concurrent requests append. One append is under way at a time, and the next one carries all that came
 * meanwhile, taken from the tenants in turn, so that whoever sends little never waits for all of whoever sends much.
 */
export class Appender {
  readonly #log: Log
  readonly #topic: Topic
  readonly #maxBytes: number
  readonly #onAppended: (() => void) | undefined
  /** In the order of whose turn it is. */
  readonly #queues = new Map<string, Waiting[]>()
  #underWay = false
  #scheduled = false
  #idle: PromiseWithResolvers<void> | undefined
  /** How fast the log takes bytes. */
  readonly drain = new DrainRate()

  constructor({ log, topic, maxBytes = 1 << 20, onAppended }: AppenderOptions) {
    this.#log = log
    this.#topic = topic
    this.#maxBytes = maxBytes
    this.#onAppended = onAppended
  }

  /** Rejects with what the log rejects with; then none of the messages is promised to be there. */
  append(tenant: string, messages: readonly Message[], bytes: number): Promise<readonly Position[] | undefined> {
    return new Promise((resolve, reject) => {
      const waiting = { messages, bytes, resolve, reject }
      const queue = this.#queues.get(tenant)
      if (queue) queue.push(waiting)
      else this.#queues.set(tenant, [waiting])
      this.#schedule()
    })
  }

  /** Once per turn of the event loop: all requests that are parsed in it go together. */
  #schedule(): void {
    if (this.#scheduled || this.#underWay) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#next()
    })
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (!this.#underWay && this.#queues.size === 0) return Promise.resolve()
    this.#idle ??= Promise.withResolvers<void>()
    return this.#idle.promise
  }

  #next(): void {
    if (this.#queues.size > 0) void this.#send(this.#gather())
    else this.#idle?.resolve()
  }

  #gather(): Waiting[] {
    const taken: Waiting[] = []
    let bytes = 0
    for (const [tenant, queue] of this.#queues) {
      const alone = this.#queues.size === 1
      let turns = 0
      do {
        const next = queue[turns] as Waiting
        if (taken.length > 0 && bytes + next.bytes > this.#maxBytes) {
          queue.splice(0, turns)
          return taken
        }
        bytes += next.bytes
        taken.push(next)
        turns++
      } while (alone && turns < queue.length)
      // To the end of the line, where this loop comes by again, and so that the next append begins with another.
      this.#queues.delete(tenant)
      if (turns < queue.length) {
        queue.splice(0, turns)
        this.#queues.set(tenant, queue)
      }
    }
    return taken
  }

  async #send(taken: readonly Waiting[]): Promise<void> {
    this.#underWay = true
    const started = performance.now()
    const messages: Message[] = []
    for (const waiting of taken) for (const message of waiting.messages) messages.push(message)
    try {
      const positions = await this.#log.append(this.#topic, messages)
      this.#onAppended?.()
      let from = 0
      let bytes = 0
      for (const waiting of taken) {
        waiting.resolve(positions?.slice(from, from + waiting.messages.length))
        from += waiting.messages.length
        bytes += waiting.bytes
      }
      this.drain.took(bytes, started, performance.now())
      batchEvents.observe(messages.length)
    } catch (error) {
      for (const { reject } of taken) reject(error)
    } finally {
      appendSeconds.observe((performance.now() - started) / 1000)
      this.#underWay = false
      this.#schedule()
    }
  }
}
