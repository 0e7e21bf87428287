import { pause } from '../backoff.ts'
import { WeftError } from '../transport.ts'
import { type Cluster, nameOf } from './cluster.ts'
import {
  type Batch,
  type Broker,
  type Compression,
  KafkaError,
  type KafkaRecord,
  type Place,
  type Producer,
} from './driver.ts'
import { isFencing, isTooLarge, passes, persist, weftError } from './errors.ts'
import { BATCH_BYTES, type Part, pieces } from './parts.ts'

/**
 * Bytes of a request, about. Several small ones follow each other at once: while the broker writes one, the next is
 * encoded. With a single large one each side would wait for the other.
 */
const REQUEST_BYTES = 1_000_000
/** A line that has more waiting than this sends half of it, so that something is left to follow. */
const LEAST_BYTES = 65_536

interface Item {
  readonly records: readonly KafkaRecord[]
  readonly bytes: number
  readonly since: number
  readonly resolve: (offsets: bigint[]) => void
  readonly reject: (error: unknown) => void
}

function halves(item: Item): [Item, Item] {
  const middle = item.records.length >> 1
  const found: bigint[][] = []
  const half = (records: readonly KafkaRecord[], place: 0 | 1): Item => ({
    ...item,
    records,
    bytes: Math.ceil((item.bytes * records.length) / item.records.length),
    resolve: offsets => {
      found[place] = offsets
      // The second one follows the first.
      if (place === 1) item.resolve(found.flat())
    },
  })
  return [half(item.records.slice(0, middle), 0), half(item.records.slice(middle), 1)]
}

/** A partition's line: one batch at a time is under way, so that order and sequence numbers hold whatever fails. */
interface Line extends Place {
  readonly items: Item[]
  busy: boolean
  /** Bytes that it takes at once, as far as is known. */
  most: number
}

interface Flight {
  readonly line: Line
  readonly items: readonly Item[]
  readonly batch: Batch
  tries: number
}

/** A producer id and how far each partition is counted under it; given up as a whole when an outcome stays unknown. */
interface Identity {
  readonly producer: Promise<Producer>
  readonly sequences: Map<string, number>
}

/** The idempotent producer behind `append`: what comes while a request is under way goes together in the next. */
export class Appender {
  readonly #cluster: Cluster
  readonly #compression: Compression
  readonly #lines = new Map<string, Line>()
  readonly #ready = new Set<Line>()
  readonly #closed = new AbortController()
  readonly #running = new Set<Promise<void>>()
  #identity: Identity | undefined
  #scheduled = false

  constructor(cluster: Cluster, compression: Compression) {
    this.#cluster = cluster
    this.#compression = compression
  }

  /** Resolves with the offset of each record when it is durable. */
  async append(part: Part): Promise<bigint[]> {
    const name = nameOf(part)
    let line = this.#lines.get(name)
    if (!line) {
      line = { topic: part.topic, partition: part.partition, items: [], busy: false, most: BATCH_BYTES }
      this.#lines.set(name, line)
    }
    const waiting: Promise<bigint[]>[] = []
    const whole = part.bytes <= line.most ? [part.records] : pieces(part.records, line.most)
    for (const records of whole)
      waiting.push(this.#enqueue(line, records, Math.ceil((part.bytes * records.length) / part.records.length)))
    return (await Promise.all(waiting)).flat()
  }

  #enqueue(line: Line, records: readonly KafkaRecord[], bytes: number): Promise<bigint[]> {
    const { promise, resolve, reject } = Promise.withResolvers<bigint[]>()
    line.items.push({ records, bytes, since: performance.now(), resolve, reject })
    this.#wake(line)
    return promise
  }

  #wake(line: Line): void {
    if (line.busy || line.items.length === 0) return
    this.#ready.add(line)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const running = this.#dispatch().finally(() => this.#running.delete(running))
      this.#running.add(running)
    })
  }

  /** Sends what is ready, a request per broker. */
  async #dispatch(): Promise<void> {
    const lines = [...this.#ready].filter(({ items }) => items.length > 0)
    this.#ready.clear()
    const identity = this.#identify()
    const flights = lines.map(line => this.#take(line, identity))
    await this.#send(flights, identity)
  }

  #identify(): Identity {
    if (!this.#identity) {
      const producer = persist(() => this.#cluster.control.initProducer(undefined, null, 60_000), {
        forMs: this.#cluster.patienceMs,
        signal: this.#closed.signal,
      })
      producer.catch(() => {})
      this.#identity = { producer, sequences: new Map() }
    }
    return this.#identity
  }

  #take(line: Line, identity: Identity): Flight {
    let [count, bytes] = [0, 0]
    const waiting = line.items.reduce((sum, { bytes }) => sum + bytes, 0)
    const most = Math.min(line.most, Math.max(LEAST_BYTES, waiting / 2))
    for (const item of line.items) {
      if (count > 0 && bytes + item.bytes > most) break
      bytes += item.bytes
      count++
    }
    const items = line.items.splice(0, count)
    const records = items.length === 1 ? (items[0] as Item).records : items.flatMap(item => item.records)
    line.busy = true
    const { topic, partition } = line
    const name = nameOf(line)
    const sequence = identity.sequences.get(name) ?? 0
    // Sequence numbers have 31 bits and go round.
    identity.sequences.set(name, (sequence + records.length) % 2 ** 31)
    return { line, items, batch: { topic, partition, sequence, records }, tries: 0 }
  }

  async #send(flights: readonly Flight[], identity: Identity): Promise<void> {
    const brokers = new Map<Broker, { flights: Flight[]; bytes: number }[]>()
    for (const flight of flights) {
      try {
        const leader = await this.#cluster.leader(flight.batch)
        const requests = brokers.get(leader) ?? []
        brokers.set(leader, requests)
        const last = requests.at(-1)
        const bytes = flight.items.reduce((sum, { bytes }) => sum + bytes, 0)
        if (last && last.bytes + bytes <= REQUEST_BYTES) {
          last.flights.push(flight)
          last.bytes += bytes
        } else requests.push({ flights: [flight], bytes })
      } catch (error) {
        this.#settle(flight, identity, error)
      }
    }
    await Promise.all(
      [...brokers].flatMap(([broker, requests]) =>
        requests.map(({ flights }) => this.#request(broker, flights, identity)),
      ),
    )
  }

  async #request(broker: Broker, flights: readonly Flight[], identity: Identity): Promise<void> {
    const outcomes = new Map<string, { offset: bigint } | { error: unknown }>()
    let failure: unknown
    try {
      const produced = await this.#cluster.data.produce(broker, {
        producer: await identity.producer,
        batches: flights.map(({ batch }) => batch),
        compression: this.#compression,
        timeoutMs: Math.max(1_000, this.#cluster.patienceMs),
      })
      for (const { error, message, ...each } of produced)
        outcomes.set(
          nameOf(each),
          error === undefined || error === 'DUPLICATE_SEQUENCE_NUMBER'
            ? each
            : { error: new KafkaError(error, `appending to ${nameOf(each)}: ${message ?? error}`) },
        )
    } catch (error) {
      failure = error
    }
    for (const flight of flights) {
      const outcome = outcomes.get(nameOf(flight.batch)) ?? { error: failure }
      if ('offset' in outcome) this.#succeed(flight, outcome.offset)
      else if (outcome.error instanceof KafkaError && isTooLarge(outcome.error.code) && flight.batch.records.length > 1)
        this.#split(flight, identity)
      else this.#settle(flight, identity, outcome.error)
    }
  }

  #succeed({ line, items }: Flight, first: bigint): void {
    let offset = first
    for (const { records, resolve } of items) {
      resolve(records.map((_, i) => offset + BigInt(i)))
      offset += BigInt(records.length)
    }
    this.#free(line)
  }

  /** The topic takes less at once than was thought, and took nothing: each of the records may still fit. */
  #split({ line, items, batch: { sequence } }: Flight, identity: Identity): void {
    identity.sequences.set(nameOf(line), sequence)
    line.most = Math.max(1, items.reduce((sum, { bytes }) => sum + bytes, 0) >> 1)
    line.items.unshift(
      ...items.flatMap(item => (item.records.length > 1 && items.length === 1 ? halves(item) : [item])),
    )
    this.#free(line)
  }

  /** A batch that was not taken: tried again while that may help, else its messages' appends reject. */
  #settle(flight: Flight, identity: Identity, error: unknown): void {
    const code = error instanceof KafkaError ? error.code : ''
    const late = performance.now() - (flight.items[0] as Item).since > this.#cluster.patienceMs
    if (code === 'NOT_LEADER_OR_FOLLOWER' || code === 'UNKNOWN_TOPIC_OR_PARTITION' || code === 'NETWORK')
      this.#cluster.forget(flight.batch.topic)
    flight.tries++
    const forgotten = code === 'UNKNOWN_PRODUCER_ID' || code === 'OUT_OF_ORDER_SEQUENCE_NUMBER' || isFencing(error)
    if (forgotten && flight.tries === 1 && !this.#closed.signal.aborted) {
      // The broker has lost count and took nothing: the same records under a new count.
      this.#renounce(identity)
      flight.line.items.unshift(...flight.items)
      this.#free(flight.line)
      return
    }
    if (passes(code) && !late && !this.#closed.signal.aborted) {
      const again = (async () => {
        await pause(Math.min(500, 10 * 2 ** flight.tries), this.#closed.signal)
        await this.#send([flight], identity)
      })().finally(() => this.#running.delete(again))
      this.#running.add(again)
      return
    }
    // Whether the broker has it stays open, and so does the partition's count.
    this.#renounce(identity)
    const reason = forgotten
      ? new WeftError('UNAVAILABLE', 'Kafka lost count of a batch: whether it is there is unknown', { cause: error })
      : weftError(error)
    for (const { reject } of flight.items) reject(this.#closed.signal.aborted ? closed() : reason)
    this.#free(flight.line)
  }

  #renounce(identity: Identity): void {
    if (this.#identity === identity) this.#identity = undefined
  }

  #free(line: Line): void {
    line.busy = false
    if (this.#closed.signal.aborted) for (const { reject } of line.items.splice(0)) reject(closed())
    this.#wake(line)
  }

  /** What waits is rejected, what is under way gets its answer. */
  async close(): Promise<void> {
    this.#closed.abort()
    for (const line of this.#lines.values()) for (const { reject } of line.items.splice(0)) reject(closed())
    while (this.#running.size > 0) await Promise.all(this.#running)
  }
}

const closed = () => new WeftError('CLOSED', 'the transport was closed')
