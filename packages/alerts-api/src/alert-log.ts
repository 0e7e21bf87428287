import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { Catalogue, Codec, Events } from '@weft/schema'
import { traceOf, tracer } from '@weft/telemetry'
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
const HELD_MS = 1_000
const PROBE_MS = 1_500

/** The alerts' topic, decoded. */
export class AlertLog {
  readonly #transport: Transport
  readonly #codec: Codec<Events['alerts.v1']>
  readonly #log: Logger
  readonly #maxFetches: number
  readonly #waiting: (() => void)[] = []
  #fetching = 0

  constructor(
    transport: Transport,
    catalogue: Catalogue,
    log: Logger,
    { maxFetches = 16 }: { maxFetches?: number } = {},
  ) {
    this.#transport = transport
    this.#codec = catalogue.codec('alerts.v1')
    this.#log = log
    this.#maxFetches = maxFetches
  }

  /**
   * Reads for one client that is too far behind for the ring. So many fetch at once, others wait; a place is held while
   * a batch is fetched, not while the client takes it.
   */
  async *replay(after: Vector, signal: AbortSignal): AsyncGenerator<readonly Logged[]> {
    const batches = this.#messages(after, signal)[Symbol.asyncIterator]()
    try {
      while (await this.#slot(signal)) {
        const { value, done } = await this.#fetch(batches)
        if (done) return
        yield value.map(message => this.#decode(message))
      }
    } finally {
      await batches.return?.()
    }
  }

  /** One that finds nothing new waits without a place. */
  async #fetch<Batch>(batches: AsyncIterator<Batch>): Promise<IteratorResult<Batch>> {
    let isHeld = true
    const release = () => {
      if (!isHeld) return
      isHeld = false
      const next = this.#waiting.shift()
      if (next) next()
      else this.#fetching--
    }
    const timer = setTimeout(release, HELD_MS)
    try {
      return await batches.next()
    } finally {
      clearTimeout(timer)
      release()
    }
  }

  /** False when the signal aborts before there is one. */
  #slot(signal: AbortSignal): boolean | Promise<boolean> {
    if (signal.aborted) return false
    if (this.#fetching < this.#maxFetches) {
      this.#fetching++
      return true
    }
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const start = () => {
      signal.removeEventListener('abort', abandon)
      resolve(true)
    }
    const abandon = () => {
      const place = this.#waiting.indexOf(start)
      if (place >= 0) this.#waiting.splice(place, 1)
      resolve(false)
    }
    this.#waiting.push(start)
    signal.addEventListener('abort', abandon, { once: true })
    return promise
  }

  /**
   * Feeds the fan-out from where its tape stands until the signal aborts; what fails is tried again from there. Calls
   * `onReached` when all up to and with `end` was sent out.
   */
  async follow(
    fanout: Fanout,
    starts: Starts,
    signal: AbortSignal,
    { end, onReached }: { readonly end: Vector; readonly onReached: () => void },
  ): Promise<void> {
    let to: Vector | undefined = end
    for (let pause = 50; !signal.aborted; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
      try {
        for await (const batch of this.#messages(fanout.tape.vector, signal, to)) {
          pause = 50
          for (const message of batch) {
            const room = fanout.push(this.#decode(message))
            trace(message)
            if (room) await room
          }
          // A log that always has more would keep timers and sockets waiting.
          await turn()
        }
        if (signal.aborted) return
        fanout.flush()
        onReached()
        to = undefined
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

  /**
   * Whether there is anything behind a vector up to `end`, which may be a marker that no reader is given. True as well if
   * that cannot be told in time.
   */
  async holds(after: Vector, end: Vector): Promise<boolean> {
    const late = AbortSignal.timeout(PROBE_MS)
    for await (const _ of this.#messages(after, late, end)) return true
    return late.aborted
  }

  #messages(after: Vector, signal: AbortSignal, to?: Vector): AsyncIterable<readonly Received[]> {
    const from = { after: toPositions(after) }
    return this.#transport.read(ALERTS, { from, signal, maxBytes: FETCH_BYTES, ...(to && { to: toPositions(to) }) })
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

const spans = tracer('alerts-api')

/** The last span of an event's trace: from the log taking the alert to it being ready for all that listen. */
function trace(message: Received): void {
  if (!message.headers?.some(([name]) => name === HEADERS.trace)) return
  const { partition, at } = message.position
  const attributes = { 'weft.topic': message.topic.name, 'weft.partition': partition, 'weft.position': at }
  spans.startSpan('alerts.publish', { startTime: message.appendedAt, attributes }, traceOf(message)).end()
}
