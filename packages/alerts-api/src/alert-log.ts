import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { Catalogue, Codec, Events } from '@weft/schema'
import { HEADERS, type Received, type Topic, type Transport } from '@weft/transport'
import type { Logger } from 'pino'
import type { Fanout } from './fanout.ts'
import { undecodable } from './metrics.ts'
import type { Logged } from './pursuit.ts'
import type { Starts } from './starts.ts'
import { toPositions, type Vector } from './vector.ts'

export const ALERTS: Topic = { name: 'alerts.v1' }

const FETCH_BYTES = 256 * 1024
const MAX_PAUSE_MS = 5_000

/** The alerts' topic, decoded. */
export class AlertLog {
  readonly #transport: Transport
  readonly #codec: Codec<Events['alerts.v1']>
  readonly #log: Logger
  readonly #maxReplays: number
  readonly #waiting: (() => void)[] = []
  #replays = 0

  constructor(
    transport: Transport,
    catalogue: Catalogue,
    log: Logger,
    { maxReplays = 16 }: { maxReplays?: number } = {},
  ) {
    this.#transport = transport
    this.#codec = catalogue.codec('alerts.v1')
    this.#log = log
    this.#maxReplays = maxReplays
  }

  /** Reads for one client that is too far behind for the ring; so many at once, others wait. */
  async *replay(after: Vector, signal: AbortSignal): AsyncGenerator<readonly Logged[]> {
    if (!(await this.#slot(signal))) return
    try {
      yield* this.#read(after, signal)
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#replays--
    }
  }

  /** False when the signal aborts before there is one. */
  #slot(signal: AbortSignal): boolean | Promise<boolean> {
    if (signal.aborted) return false
    if (this.#replays < this.#maxReplays) {
      this.#replays++
      return true
    }
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const start = () => resolve(true)
    this.#waiting.push(start)
    signal.addEventListener('abort', () => {
      const place = this.#waiting.indexOf(start)
      if (place >= 0) this.#waiting.splice(place, 1)
      resolve(false)
    })
    return promise
  }

  /** Feeds the fan-out from where its tape stands until the signal aborts; what fails is tried again from there. */
  async follow(fanout: Fanout, starts: Starts, signal: AbortSignal): Promise<void> {
    for (let pause = 50; !signal.aborted; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
      try {
        for await (const batch of this.#read(fanout.tape.vector, signal)) {
          pause = 50
          for (const record of batch) {
            const room = fanout.push(record)
            if (room) await room
          }
          // A log that always has more would keep timers and sockets waiting.
          await turn()
        }
      } catch (error) {
        if (signal.aborted) return
        this.#log.error({ err: error }, 'reading the alerts failed, trying again')
        await starts.afterGap(error, fanout.tape.vector).then(
          ({ vector, reset }) => fanout.skipTo(vector, reset.reason),
          () => {},
        )
        await wait(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
      }
    }
  }

  async *#read(after: Vector, signal: AbortSignal): AsyncGenerator<readonly Logged[]> {
    const from = { after: toPositions(after) }
    for await (const batch of this.#transport.read(ALERTS, { from, signal, maxBytes: FETCH_BYTES }))
      yield batch.map(message => this.#decode(message))
  }

  #decode(message: Received): Logged {
    const { position, appendedAt } = message
    const logged = { partition: position.partition, at: position.at, appendedAt }
    if (message.value === null || message.headers?.some(([name]) => name === HEADERS.tick))
      return { ...logged, alert: undefined }
    try {
      return { ...logged, alert: this.#codec.decode(message) }
    } catch (error) {
      undecodable.inc()
      this.#log.warn({ err: error, ...position }, 'a record of alerts.v1 is no alert and is not shown')
      return { ...logged, alert: undefined }
    }
  }
}
