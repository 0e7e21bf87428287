import type { Position, Received, Topic } from '../transport.ts'
import { Bell } from './bell.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { KafkaError } from './driver.ts'
import type { Fetcher, Tap } from './fetcher.ts'
import { offsetAt } from './record.ts'

export interface Start {
  readonly topic: Topic
  /** In Kafka. */
  readonly name: string
  readonly offset: bigint
}

/** One topic's partition on its way to a member. What nobody is to see (markers, what was taken back) lies between. */
interface Stream {
  readonly topic: Topic
  readonly tap: Tap
  /** Taken from the tap and not handed out yet. */
  waiting: readonly Received[]
  /** Of the last message that was taken. */
  last: bigint
  /** Behind all that was taken, also what nobody sees. */
  taken: bigint
  /** For messages with something behind them that nobody sees: where that ends. */
  readonly gaps: Map<bigint, bigint>
  /** Where the group's position is. */
  settled: bigint
}

export interface CursorOptions {
  readonly signal: AbortSignal
  /** Messages handed out together at most. */
  readonly maxCount?: number
  /** So long it waits for that many, once there is one; 0: not at all. */
  readonly maxMs?: number
}

/** Bytes of keys and values after which no more are waited for. */
const FULL_BYTES = 4 * 1024 * 1024

export interface Settled {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** What comes next of the partitions that share a number, and how far each of them is settled. */
export class Cursor {
  readonly #cluster: Cluster
  readonly #fetcher: Fetcher
  readonly #streams: readonly Stream[]
  readonly #bell = new Bell()
  readonly #signal: AbortSignal
  readonly #maxCount: number
  readonly #maxMs: number

  constructor(
    cluster: Cluster,
    fetcher: Fetcher,
    partition: number,
    starts: readonly Start[],
    { signal, maxCount = 1_000, maxMs = 0 }: CursorOptions,
  ) {
    this.#cluster = cluster
    this.#fetcher = fetcher
    this.#signal = signal
    this.#maxCount = maxCount
    this.#maxMs = maxMs
    this.#streams = starts.map(({ topic, name, offset }) => ({
      topic,
      tap: fetcher.add({ topic: name, partition }, topic, offset, this.#bell),
      waiting: [],
      last: offset - 1n,
      taken: offset,
      gaps: new Map(),
      settled: offset,
    }))
    signal.addEventListener('abort', () => this.#bell.ring(), { once: true })
  }

  /**
   * Messages in order; of several topics, what the log took first comes first. None: all that was handed out is settled,
   * and `idle` tells of something behind it. Undefined once the signal aborted.
   */
  async next(): Promise<readonly Received[] | undefined> {
    const gathered: Received[] = []
    let [bytes, due] = [0, Number.POSITIVE_INFINITY]
    while (!this.#signal.aborted) {
      const { rings } = this.#bell
      for (const stream of this.#streams) await this.#refill(stream)
      const more = this.#merge(this.#maxCount - gathered.length)
      for (const message of more) {
        gathered.push(message)
        bytes += (message.key?.length ?? 0) + (message.value?.length ?? 0)
      }
      const now = Date.now()
      // All partitions of a member look at the same clock, and so their transactions end together.
      if (gathered.length === more.length && more.length > 0)
        due = this.#maxMs && now + this.#maxMs - (now % this.#maxMs)
      if (gathered.length >= this.#maxCount || bytes >= FULL_BYTES) return gathered
      if (more.length > 0) continue
      if (gathered.length > 0 ? now >= due : this.idle().length > 0) return gathered
      await this.#bell.after(rings, gathered.length > 0 ? due - now : undefined)
    }
    return undefined
  }

  async #refill(stream: Stream): Promise<void> {
    const { tap } = stream
    while (stream.waiting.length === 0) {
      try {
        const chunk = tap.take()
        if (!chunk) return
        stream.waiting = chunk.messages
        const last = chunk.messages.at(-1)
        if (last) stream.last = offsetAt(last.position)
        stream.taken = chunk.next
        if (stream.taken > stream.last + 1n && stream.settled <= stream.last) stream.gaps.set(stream.last, stream.taken)
      } catch (error) {
        if (!(error instanceof KafkaError && error.code === 'OFFSET_OUT_OF_RANGE')) throw error
        // Retention was faster than the group: it goes on with the oldest that is left.
        const place = { topic: tap.topic, partition: tap.partition }
        const firsts = await this.#cluster.offsets([{ ...place, time: -2n }])
        tap.seek(firsts.get(nameOf(place)) ?? tap.offset)
      }
    }
  }

  #merge(most: number): readonly Received[] {
    const [only] = this.#streams
    if (only && this.#streams.length === 1) return this.#split(only, most)
    const merged = this.#streams
      .flatMap(stream => stream.waiting.slice(0, most).map(message => ({ stream, message })))
      .sort((a, b) => a.message.appendedAt - b.message.appendedAt)
      .slice(0, most)
    for (const stream of this.#streams)
      this.#split(
        stream,
        merged.reduce((count, each) => count + (each.stream === stream ? 1 : 0), 0),
      )
    return merged.map(({ message }) => message)
  }

  #split(stream: Stream, count: number): readonly Received[] {
    const messages = stream.waiting
    if (messages.length <= count) {
      stream.waiting = []
      return messages
    }
    stream.waiting = messages.slice(count)
    return messages.slice(0, count)
  }

  /** The positions behind a batch: for each topic behind its last message, and behind what nobody sees after it. */
  behind(batch: readonly Received[]): Settled[] {
    return this.#streams.flatMap(({ topic, tap, gaps }) => {
      const last = batch.findLast(message => message.topic === topic)
      if (!last) return []
      const offset = offsetAt(last.position)
      return [{ topic: tap.topic, partition: tap.partition, offset: gaps.get(offset) ?? offset + 1n }]
    })
  }

  /** The position behind one message of a topic, by its name in Kafka. */
  behindPosition(topic: string, position: Position): Settled[] {
    const offset = offsetAt(position)
    const gaps = this.#streams.find(({ tap }) => tap.topic === topic)?.gaps
    return [{ topic, partition: position.partition, offset: gaps?.get(offset) ?? offset + 1n }]
  }

  /** Positions behind what nobody sees, where all before it is settled. */
  idle(): Settled[] {
    return this.#streams
      .filter(({ waiting, last, taken, settled }) => waiting.length === 0 && settled > last && settled < taken)
      .map(({ tap, taken }) => ({ topic: tap.topic, partition: tap.partition, offset: taken }))
  }

  /** The group's positions have moved. */
  settle(places: readonly Settled[]): void {
    for (const { topic, offset } of places) {
      const stream = this.#streams.find(({ tap }) => tap.topic === topic)
      if (!stream || stream.settled >= offset) continue
      stream.settled = offset
      for (const after of stream.gaps.keys()) if (after < offset) stream.gaps.delete(after)
    }
    this.#bell.ring()
  }

  get settled(): Settled[] {
    return this.#streams.map(({ tap, settled }) => ({ topic: tap.topic, partition: tap.partition, offset: settled }))
  }

  close(): void {
    for (const { tap } of this.#streams) this.#fetcher.remove(tap)
  }
}
