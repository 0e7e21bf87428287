import { pause } from '../backoff.ts'
import type { SchemaIds } from '../schema-ids.ts'
import { type Received, type Topic, WeftError } from '../transport.ts'
import { Bell } from './bell.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { type Committed, committed } from './committed.ts'
import { type Broker, type Fetched, KafkaError, type Lane, type Place } from './driver.ts'
import { isPassing, passes } from './errors.ts'
import { type FoundSchemas, findSchemas } from './framing.ts'
import { receivedOf } from './record.ts'

/** How long a broker holds a fetch that has nothing, in milliseconds: also how late a partition is asked for again at most. */
const WAIT_MS = 100

/** What a fetch brought of a partition: maybe no message at all, only a place further on, behind what nobody is to see. */
export interface Chunk {
  readonly messages: readonly Received[]
  readonly next: bigint
}

/** A partition that is being fetched, ahead of whoever takes from it. */
export class Tap implements Place {
  readonly topic: string
  readonly partition: number
  readonly source: Topic
  offset: bigint
  buffered = 0
  /** OFFSET_OUT_OF_RANGE, or what else does not pass. */
  failure: KafkaError | WeftError | undefined
  /** Something that was fetched waits for the schema registry. */
  waits = false
  readonly #chunks: { chunk: Chunk; bytes: number }[] = []
  readonly #taken: () => void
  /** Rings when there may be something to take. */
  readonly #bell: Bell

  constructor(place: Place, source: Topic, offset: bigint, bell: Bell, taken: () => void) {
    this.topic = place.topic
    this.partition = place.partition
    this.source = source
    this.offset = offset
    this.#bell = bell
    this.#taken = taken
  }

  put(chunk: Chunk, bytes: number): void {
    this.offset = chunk.next
    this.buffered += bytes
    this.#chunks.push({ chunk, bytes })
    this.#bell.ring()
  }

  fail(failure: KafkaError | WeftError): void {
    this.failure = failure
    this.#bell.ring()
  }

  get waiting(): number {
    return this.#chunks.length
  }

  /** The next chunk, if it is there. Throws what made fetching impossible, after all that came before it. */
  take(): Chunk | undefined {
    const first = this.#chunks.shift()
    if (!first) {
      if (this.failure) throw this.failure
      return undefined
    }
    this.buffered -= first.bytes
    this.#taken()
    return first.chunk
  }

  /** Goes on elsewhere, after a failure. */
  seek(offset: bigint): void {
    this.offset = offset
    this.failure = undefined
    this.#taken()
  }
}

/** Fetches partitions over connections of its own, one request at a time for each broker, never more than `maxBytes` ahead. */
export class Fetcher implements AsyncDisposable {
  readonly #cluster: Cluster
  readonly #lane: Lane
  readonly #maxBytes: number
  readonly #taps = new Set<Tap>()
  readonly #closed = new AbortController()
  readonly #loops = new Map<number, Promise<void>>()
  readonly #bell = new Bell()
  #placing: Promise<void> | undefined
  #unplaced = false

  constructor(cluster: Cluster, maxBytes: number) {
    this.#cluster = cluster
    this.#lane = cluster.driver.lane()
    this.#maxBytes = maxBytes
  }

  /** `bell` rings when there may be something to take. */
  add(place: Place, source: Topic, offset: bigint, bell: Bell): Tap {
    const tap = new Tap(place, source, offset, bell, () => this.#bell.ring())
    this.#taps.add(tap)
    this.#bell.ring()
    this.#place()
    return tap
  }

  remove(tap: Tap): void {
    this.#taps.delete(tap)
  }

  /** Sees to it that each broker which leads one of the partitions has a loop. */
  #place(): void {
    this.#unplaced = true
    this.#placing ??= this.#placeAll()
  }

  async #placeAll(): Promise<void> {
    const { signal } = this.#closed
    // What comes while it looks for others' leaders is looked for as well: nobody else would.
    while (this.#unplaced && !signal.aborted) {
      this.#unplaced = false
      for (const tap of [...this.#taps]) {
        try {
          const { id } = await this.#cluster.leader(tap)
          if (!signal.aborted && !this.#loops.has(id)) this.#loops.set(id, this.#loop(id))
        } catch {
          this.#unplaced = true
        }
      }
      if (this.#unplaced) await pause(50, signal)
    }
    this.#placing = undefined
  }

  async #loop(id: number): Promise<void> {
    const { signal } = this.#closed
    let failures = 0
    while (!signal.aborted) {
      const { rings } = this.#bell
      const { broker, taps } = await this.#wanted(id)
      if (!broker) {
        // A partition may come to this broker meanwhile.
        await this.#bell.after(rings, 10 * WAIT_MS)
        continue
      }
      try {
        await this.#fetch(broker, taps)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (!isPassing(error)) {
          const failure = error instanceof KafkaError ? error : new KafkaError('UNREADABLE', String(error), error)
          for (const tap of taps) tap.fail(failure)
          continue
        }
        for (const { topic } of taps) this.#cluster.forget(topic)
        await pause(Math.min(1_000, 20 * 2 ** failures++), signal)
      }
    }
  }

  /** What is to be fetched from a broker, and where that one is by now; no broker if there is nothing. */
  async #wanted(id: number): Promise<{ broker?: Broker; taps: Tap[] }> {
    const taps: Tap[] = []
    let broker: Broker | undefined
    for (const tap of this.#taps) {
      if (tap.failure || tap.waits || tap.buffered >= this.#maxBytes / 2 / this.#taps.size) continue
      const leader = await this.#cluster.leader(tap).catch(() => undefined)
      if (leader?.id === id) {
        broker = leader
        taps.push(tap)
      } else if (leader && !this.#loops.has(leader.id)) this.#place()
    }
    return { ...(broker && { broker }), taps }
  }

  async #fetch(broker: Broker, taps: readonly Tap[]): Promise<void> {
    const half = Math.max(1, Math.floor(this.#maxBytes / 2))
    const fetched = await this.#lane.fetch(broker, {
      // Whoever comes first gets most of a request, so they take turns.
      places: rotated(taps).map(({ topic, partition, offset }) => ({
        topic,
        partition,
        offset,
        maxBytes: Math.max(1, Math.floor(half / taps.length)),
      })),
      maxWaitMs: WAIT_MS,
      maxBytes: half,
    })
    const byName = new Map(taps.map(tap => [nameOf(tap), tap]))
    for (const each of fetched) {
      const tap = byName.get(nameOf(each))
      if (!tap || !this.#taps.has(tap)) continue
      if (each.error === undefined) this.#take(tap, each)
      else if (each.error !== 'OFFSET_OUT_OF_RANGE' && passes(each.error)) {
        this.#cluster.forget(tap.topic)
        this.#place()
      } else tap.fail(new KafkaError(each.error, `reading ${nameOf(tap)} from ${tap.offset}: ${each.error}`))
    }
  }

  /** What has ids that were never seen waits until the registry has told what they stand for; other partitions go on. */
  #take(tap: Tap, fetched: Fetched): void {
    const { ids } = this.#cluster
    const all = committed(fetched, tap.offset)
    if (all.next === tap.offset) return
    const finding = findSchemas(all.batches, tap.source.name, ids)
    if (!finding) {
      tap.put(...chunkOf(tap, all, ids))
      return
    }
    tap.waits = true
    finding
      .then(
        found => this.#taps.has(tap) && tap.put(...chunkOf(tap, all, ids, found)),
        async error => {
          if (!(error instanceof WeftError && error.retryable)) tap.fail(error)
          else await pause(1_000, this.#closed.signal)
        },
      )
      .finally(() => {
        tap.waits = false
        this.#bell.ring()
      })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort()
    this.#bell.ring()
    await this.#lane[Symbol.asyncDispose]()
    await this.#placing
    await Promise.all(this.#loops.values())
  }
}

function chunkOf(
  { offset: from, source, partition }: Tap,
  { batches, next }: Committed,
  ids: SchemaIds | undefined,
  found?: FoundSchemas,
): [chunk: Chunk, bytes: number] {
  let bytes = 0
  const messages: Received[] = []
  for (const batch of batches)
    for (const record of batch.records) {
      // A batch is sent whole, also what lies before the place that was asked for.
      if (record.offset < from) continue
      messages.push(receivedOf(source, partition, record, batch.appendedAt, ids, found))
      bytes += 100 + (record.key?.length ?? 0) + (record.value?.length ?? 0)
    }
  return [{ messages, next }, bytes]
}

let turn = 0

function rotated<T>(items: readonly T[]): T[] {
  const first = turn++ % items.length
  return [...items.slice(first), ...items.slice(0, first)]
}
