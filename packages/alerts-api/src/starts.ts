import { type From, type Topic, type Transport, WeftError } from '@weft/transport'
import { one, type Query } from './admission.ts'
import { CursorError, decodeCursor, encodeCursor } from './cursor.ts'
import { Refusal } from './refusal.ts'
import type { Tape } from './tape.ts'
import { covers, earlier, latest, toVector, type Vector } from './vector.ts'
import type { Reset } from './wire.ts'

export interface Start {
  readonly vector: Vector
  /** What has to be told before the first alert: not all that the client asked for is there. */
  readonly reset?: Reset
}

/** Finds out where clients want to begin. */
export class Starts {
  readonly #transport: Transport
  readonly #topic: Topic
  readonly #tape: Tape

  constructor(transport: Transport, topic: Topic, tape: Tape) {
    this.#transport = transport
    this.#topic = topic
    this.#tape = tape
  }

  /**
   * In this order: the Last-Event-ID header, `last_event_id`, `cursor`, `from` (earliest, latest, a cursor, an instant
   * as ISO 8601 or epoch milliseconds), else `otherwise`.
   */
  async of(query: Query, lastEventId: string | undefined, otherwise: 'earliest' | 'latest'): Promise<Start> {
    const cursor = lastEventId || one(query, 'last_event_id') || one(query, 'cursor')
    const from = one(query, 'from') || otherwise
    if (cursor) return this.#resume(cursor)
    if (from.startsWith('c1.')) return this.#resume(from)
    if (from === 'latest') return { vector: this.#tape.mark.vector }
    return { vector: await this.#positions(from === 'earliest' ? from : { time: instantOf(from) }) }
  }

  /** Where to go on for one who stands at `vector` when reading on failed with POSITION_GONE; other errors are thrown again. */
  async afterGap(error: unknown, vector: Vector): Promise<Required<Start>> {
    if (!(error instanceof WeftError) || error.code !== 'POSITION_GONE') throw error
    const cursor = encodeCursor(this.#tape.cluster, vector)
    const { vector: kept, reset } = await this.#within(vector)
    return { vector: kept, reset: reset ?? { reason: 'retention', from: cursor, to: cursor } }
  }

  async #resume(text: string): Promise<Start> {
    const { cluster, compare, ring, vector: shared } = this.#tape
    try {
      const places = decodeCursor(text, cluster, shared.length)
      if (!places.includes(undefined)) {
        const asked = places as Vector
        if (ring.covers(asked) && covers(shared, asked, compare)) return { vector: asked }
      }
      return await this.#within(places)
    } catch (error) {
      if (error instanceof CursorError) throw new Refusal('invalid_cursor', error.message)
      if (error instanceof WeftError && error.code === 'INVALID')
        throw new Refusal('invalid_cursor', 'not a cursor of this log: give back the id of a frame as it was')
      throw error
    }
  }

  /** A partition without a place starts at its earliest. */
  async #within(places: readonly (string | undefined)[]): Promise<Start> {
    const { cluster, compare } = this.#tape
    const described = await this.#transport.admin.describe(this.#topic)
    const [first, end] = [toVector(described.first), toVector(described.end)]
    const asked = first.map((earliest, partition) => places[partition] ?? earliest)
    const vector = earlier(latest(asked, first, compare), end, compare)
    if (vector.every((at, partition) => at === asked[partition])) return { vector }
    const reason = covers(asked, first, compare) ? 'ahead' : 'retention'
    return { vector, reset: { reason, from: encodeCursor(cluster, asked), to: encodeCursor(cluster, vector) } }
  }

  async #positions(from: From): Promise<Vector> {
    return toVector(await this.#transport.admin.positions(this.#topic, from))
  }
}

function instantOf(text: string): number {
  const time = /^\d{1,15}$/.test(text)
    ? Number(text)
    : /^\d{4}-\d\d-\d\d(T|$)/.test(text)
      ? Date.parse(text)
      : Number.NaN
  if (Number.isNaN(time))
    throw new Refusal(
      'invalid_request',
      'from: give earliest, latest, a cursor, or an instant (ISO 8601 or milliseconds since the epoch)',
    )
  return time
}
