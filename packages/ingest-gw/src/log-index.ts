import { mkdir } from 'node:fs/promises'
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises'
import type { Catalogue } from '@weft/schema'
import {
  bytes,
  type From,
  HEADERS,
  type Position,
  type Received,
  type Topic,
  type Transport,
  WeftError,
} from '@weft/transport'
import { type Database, open, type RootDatabase } from 'lmdb'
import { Flight } from './flight.ts'
import type { Claim, ClaimState, SeenEvents } from './seen.ts'
import { sweep } from './sweep.ts'

export interface LogIndexOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  /** Of its own lmdb; several processes on a machine may share it. */
  readonly directory: string
  /** How long an id counts as seen. Default 24 h. */
  readonly windowMs?: number
  readonly topic?: Topic
  readonly log?: { info(details: object, message: string): void; warn(details: object, message: string): void }
  readonly signal?: AbortSignal
}

interface Checkpoint {
  readonly cluster: string
  readonly positions: readonly Position[]
}

/** Seldom, because each is a sync of the disk that the log's own syncs have to share. */
const FLUSH_MS = 1000
const FLUSH_ENTRIES = 50_000
/** Puts in a turn of the event loop. */
const PUTS = 2000
/** Between reads, so that what many small appends brought is read at once. */
const GATHER_MS = 20

/**
 * The event ids of the log's last hours, in lmdb. The log is the truth: the index is what reading it gives, and the
 * position it was read to is written in the same transaction, so a crash at any point loses nothing. What this process
 * has appended and not yet read back is held in memory.
 */
export async function openLogIndex(options: LogIndexOptions): Promise<LogIndex> {
  await mkdir(options.directory, { recursive: true })
  const index = new LogIndex(options)
  try {
    await index.catchUp()
  } catch (error) {
    await index[Symbol.asyncDispose]()
    throw error
  }
  return index
}

export class LogIndex implements SeenEvents {
  readonly environment: RootDatabase
  readonly #transport: Transport
  readonly #topic: Topic
  readonly #windowMs: number
  readonly #log: LogIndexOptions['log']
  readonly #idOf: (record: Received) => string
  readonly #seen: Database<number, string>
  readonly #checkpoint: Database<Checkpoint, string>
  readonly #tick: () => { value: Uint8Array; schema: NonNullable<Received['schema']> }
  /** In flight, or stored at that time and not yet in lmdb. */
  readonly #recent = new Map<string, Flight | number>()
  /** Per partition: what this process appended and has not read back yet, by its place. */
  readonly #own: Map<string, string>[] = []
  /** Per partition: how far the log was read. */
  readonly #read: (Position | undefined)[] = []
  #buffer: [key: string, time: number][] = []
  #moved = false
  #caughtUp = false
  #indexed = 0
  #fault: unknown
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  #tail: Promise<void> = Promise.resolve()
  #onRead: (() => void) | undefined
  #flushes: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout
  readonly #sweep: Disposable

  constructor({
    transport,
    catalogue,
    directory,
    windowMs = 86_400_000,
    topic = { name: 'events.raw.v1' },
    log,
    signal,
  }: LogIndexOptions) {
    this.#transport = transport
    this.#topic = topic
    this.#windowMs = windowMs
    this.#log = log
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal
    const codec = catalogue.codec('events.raw.v1')
    this.#idOf = record => {
      const event = codec.decode(record)
      return idOf(event.store_id, event.event_id)
    }
    this.#tick = () => ({ value: codec.encode(tickOf(Date.now())), schema: codec.schema })
    this.environment = open({ path: directory, maxDbs: 8 })
    this.#seen = this.environment.openDB({ name: 'seen' })
    this.#checkpoint = this.environment.openDB({ name: 'checkpoint' })
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS)
    this.#timer.unref()
    this.#sweep = sweep(this.#seen, time => time < Date.now() - this.#windowMs)
  }

  /** Green while the log can be followed; the detail tells how far behind it is held in memory. */
  probe(): { ok: boolean; detail?: string } {
    if (this.#fault) return { ok: false, detail: 'the log cannot be read to index event ids' }
    return { ok: true, detail: `${this.#recent.size} event ids in memory` }
  }

  claim(tenants: readonly string[], ids: readonly string[]): Claim {
    const expired = Date.now() - this.#windowMs
    const flight = new Flight()
    const fresh: string[] = []
    const waiting: [index: number, flight: Flight][] = []
    const states: ClaimState[] = ids.map((id, index) => {
      const key = idOf(tenants[index] as string, id)
      const recent = this.#recent.get(key)
      if (recent === flight) return 'repeat'
      if (recent instanceof Flight) {
        waiting.push([index, recent])
        return 'pending'
      }
      if ((recent ?? this.#seen.get(key) ?? 0) > expired) return 'seen'
      this.#recent.set(key, flight)
      fresh.push(key)
      return 'fresh'
    })
    return {
      states,
      settled: async () => {
        for (const [index, other] of waiting) states[index] = (await other.settled()) ? 'seen' : 'failed'
        return states
      },
      stored: positions => {
        this.#stored(fresh, positions)
        flight.settle(true)
      },
      failed: () => {
        for (const key of fresh) this.#recent.delete(key)
        flight.settle(false)
      },
    }
  }

  #stored(keys: readonly string[], positions: readonly Position[]): void {
    const now = Date.now()
    for (const [index, key] of keys.entries()) {
      const position = positions[index] as Position
      const read = this.#read[position.partition]
      this.#recent.set(key, now)
      // Reading may have been quicker than the append's own answer; then nothing will come to take it out of memory.
      if (read && this.#transport.compare(read, position) >= 0) this.#buffer.push([key, now])
      else this.#ownOf(position.partition).set(position.at, key)
    }
  }

  #ownOf(partition: number): Map<string, string> {
    this.#own[partition] ??= new Map()
    return this.#own[partition]
  }

  /** Reads what the log has beyond the checkpoint, then keeps following it. */
  async catchUp(): Promise<void> {
    const started = Date.now()
    const checkpoint = this.#checkpoint.get('')
    const ours = checkpoint?.cluster === this.#transport.cluster
    // Another store than the one that was indexed, as after its directory was deleted: those ids are not in this log.
    if (checkpoint && !ours) await this.#seen.clearAsync()
    const start: From = ours ? { after: checkpoint.positions } : this.#window()
    const { partitions } = await this.#transport.admin.describe(this.#topic)
    const marks = await this.#mark(partitions)
    this.#tail = this.#follow(start)
    const progress = setInterval(() => {
      this.#log?.info(
        { indexed: this.#indexed, seconds: Math.round((Date.now() - started) / 1000) },
        'indexing event ids',
      )
    }, 2000)
    try {
      while (marks.some(mark => !this.#hasRead(mark))) {
        this.#signal.throwIfAborted()
        // While it serves, a gateway waits for the log to heal; one that cannot begin says why.
        if (this.#fault && !(this.#fault instanceof WeftError && this.#fault.retryable)) throw this.#fault
        const { promise, resolve } = Promise.withResolvers<void>()
        this.#onRead = resolve
        await promise
      }
      this.#caughtUp = true
      await this.#flush()
    } finally {
      clearInterval(progress)
    }
  }

  /**
   * A tick at the end of each partition. Only by meeting what it wrote itself can a reader know, on any transport, that
   * it has met all that was there before: the end that a broker tells may be a marker which is never delivered.
   */
  async #mark(partitions: number): Promise<Position[]> {
    const marks: Position[] = []
    for (let partition = 0; partition < partitions; partition++) {
      const time = Date.now()
      const tick = { ...this.#tick(), time, headers: [[HEADERS.tick, bytes(String(time))] as const] }
      marks.push(...(await this.#transport.append(this.#topic, [tick], { partition })))
    }
    return marks
  }

  #hasRead(mark: Position): boolean {
    const read = this.#read[mark.partition]
    return read !== undefined && this.#transport.compare(read, mark) >= 0
  }

  /** A minute earlier than needed: the log's clock may be another machine's. */
  #window(): From {
    return { time: Date.now() - this.#windowMs - 60_000 }
  }

  async #follow(start: From): Promise<void> {
    let from = start
    let pause = 50
    while (!this.#signal.aborted) {
      try {
        for await (const batch of this.#transport.read(this.#topic, {
          from,
          signal: this.#signal,
          maxBytes: 1 << 20,
        })) {
          this.#take(batch)
          this.#fault = undefined
          pause = 50
          if (this.#buffer.length >= FLUSH_ENTRIES) await this.#flush()
          this.#onRead?.()
          if (this.#caughtUp) await delay(GATHER_MS, undefined, { signal: this.#signal })
        }
      } catch (error) {
        if (this.#signal.aborted) break
        const gone = error instanceof WeftError && error.code === 'POSITION_GONE'
        this.#fault = gone ? undefined : error
        this.#log?.warn({ err: error }, gone ? 'the log no longer has what was indexed last' : 'reading the log failed')
        if (gone) this.#read.length = 0
        this.#onRead?.()
        await delay(pause, undefined, { signal: this.#signal }).catch(() => undefined)
        pause = Math.min(5000, pause * 2)
      }
      const read = this.#read.filter(position => position !== undefined)
      from = read.length > 0 ? { after: read } : this.#window()
    }
    this.#onRead?.()
  }

  #take(batch: readonly Received[]): void {
    const oldest = Date.now() - this.#windowMs
    for (const record of batch) {
      const { partition, at } = record.position
      const own = this.#own[partition]
      let key = own?.get(at)
      if (key !== undefined) own?.delete(at)
      else if (record.appendedAt > oldest && !record.headers?.some(([name]) => name === HEADERS.tick))
        key = this.#foreign(record)
      if (key !== undefined) this.#buffer.push([key, record.appendedAt])
      this.#read[partition] = record.position
      this.#indexed++
    }
    this.#moved = true
  }

  #foreign(record: Received): string | undefined {
    try {
      const key = this.#idOf(record)
      if (!this.#recent.has(key)) this.#recent.set(key, record.appendedAt)
      return key
    } catch (error) {
      // Whoever may append can append what is no event; the validate stage puts it among the dead letters.
      this.#log?.warn({ err: error, position: record.position }, 'a record is no event and has no id to index')
      return undefined
    }
  }

  /** The checkpoint is written behind the entries that it stands for, one flush after the other. */
  #flush(): Promise<void> {
    if (this.#buffer.length === 0 && !this.#moved) return this.#flushes
    const entries = this.#buffer
    const positions = this.#read.filter(position => position !== undefined)
    this.#buffer = []
    this.#moved = false
    this.#flushes = this.#flushes.then(() => this.#write(entries, positions))
    return this.#flushes
  }

  async #write(entries: [key: string, time: number][], positions: readonly Position[]): Promise<void> {
    try {
      // The puts of a turn mostly share a promise. Each is watched from the start: none may reject unheard.
      const puts = new Set<Promise<unknown>>()
      for (let from = 0; from < entries.length; from += PUTS) {
        for (const [key, time] of entries.slice(from, from + PUTS)) puts.add(this.#seen.put(key, time))
        for (const put of puts) put.catch(() => undefined)
        await immediate()
      }
      await Promise.all(puts)
      await this.#checkpoint.put('', { cluster: this.#transport.cluster, positions })
      for (const [key] of entries) if (typeof this.#recent.get(key) === 'number') this.#recent.delete(key)
    } catch (failure) {
      // lmdb has its reason in a promise of the failure, which rejects, too.
      const error =
        (await (failure as { commitError?: Promise<never> }).commitError?.catch(reason => reason)) ?? failure
      // Nothing is lost: the ids stay in memory, and after a restart the log is read from the last checkpoint.
      this.#fault = error
      this.#log?.warn({ err: error }, 'writing the index of event ids failed')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#tail
    clearInterval(this.#timer)
    this.#sweep[Symbol.dispose]()
    await this.#flush()
    await this.environment.close()
  }
}

/** A tenant's id has no slash, so no two pairs share a key. */
const idOf = (tenant: string, id: string): string => `${tenant}/${id}`

const tickOf = (now: number) => ({
  event_id: `tick-${now}`,
  store_id: '',
  user_id: null,
  session_id: null,
  type: 'weft.tick',
  payload: '{}',
  sent_at: now,
  received_at: now,
  idempotency_key: null,
  user_agent: null,
  referrer: null,
})
