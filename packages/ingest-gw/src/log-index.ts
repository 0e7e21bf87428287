import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import type { Catalogue } from '@weft/schema'
import {
  type From,
  HEADERS,
  type Message,
  type Position,
  type Received,
  type Topic,
  type Transport,
} from '@weft/transport'
import type { Database } from 'lmdb'
import { eventCodec, idOf } from './event-codec.ts'
import { Flight } from './flight.ts'
import { ANSWERS } from './idempotency.ts'
import { KnownIds } from './known-ids.ts'
import { LogClaim, type Outcomes } from './log-claim.ts'
import { LogTail } from './log-tail.ts'
import { OwnPlaces } from './own-places.ts'
import type { Claim, SeenEvents } from './seen.ts'
import { SharedLmdb } from './shared-lmdb.ts'
import { sweep } from './sweep.ts'
import { written } from './written.ts'

export interface LogIndexOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  /** Of its own lmdb; several processes on a machine may share it. */
  readonly directory: string
  /** How long an id counts as seen. Default 24 h. */
  readonly windowMs?: number
  readonly topic?: Topic
  readonly log?: { info(details: object, message: string): void; warn(details: object, message: string): void }
  /** Ends the start. */
  readonly signal?: AbortSignal
}

interface Checkpoint {
  readonly cluster: string
  readonly positions: readonly Position[]
}

/** Seldom, because each is a sync of the disk that the log's own syncs have to share. */
const FLUSH_MS = 2000
const FLUSH_ENTRIES = 50_000
/** Puts at once: what else wants to write, such as an Idempotency-Key, waits no longer than these take. */
const PUTS = 4000
const CHECKPOINT = 'log'
/** Changes with the ids that wait elsewhere to get into the log. */
const ELSEWHERE = 'elsewhere'

/**
 * The event ids of the log's last hours, in lmdb. The log is the truth: the index is what reading it gives, and the
 * position it was read to is written behind its entries, so a crash at any point loses nothing. What this process has
 * appended and not yet read back is held in memory.
 */
export async function openLogIndex(options: LogIndexOptions): Promise<LogIndex> {
  await mkdir(options.directory, { recursive: true })
  const index = new LogIndex(await SharedLmdb.open(options.directory, ['seen', 'checkpoint', ANSWERS]), options)
  try {
    await index.catchUp()
  } catch (error) {
    await index[Symbol.asyncDispose]()
    throw error
  }
  return index
}

export class LogIndex implements SeenEvents, Outcomes, AsyncDisposable {
  readonly lmdb: SharedLmdb
  readonly #transport: Transport
  readonly #windowMs: number
  readonly #log: LogIndexOptions['log']
  readonly #codec: ReturnType<typeof eventCodec>
  readonly #seen: Database<number, string>
  readonly #checkpoint: Database<Checkpoint, string>
  readonly #known: KnownIds
  readonly #tail: LogTail
  /** In flight, or stored and not yet in lmdb: by a request here, or by another process at that time. */
  readonly #recent = new Map<string, Flight | number>()
  /** Per partition. */
  readonly #own: OwnPlaces[] = []
  #buffer: [key: string, time: number][] = []
  /** Whether some of the buffer wait elsewhere. */
  #elsewhere = false
  #moved = false
  #indexed = 0
  #writeFault: unknown
  #flushes: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout
  readonly #sweep: Disposable

  constructor(
    lmdb: SharedLmdb,
    { transport, catalogue, windowMs = 86_400_000, topic = { name: 'events.raw.v1' }, log, signal }: LogIndexOptions,
  ) {
    this.lmdb = lmdb
    this.#transport = transport
    this.#windowMs = windowMs
    this.#log = log
    this.#codec = eventCodec(catalogue)
    this.#tail = new LogTail({
      transport,
      topic,
      log,
      signal,
      otherwise: () => this.#window(),
      take: batch => this.#take(batch),
    })
    this.#seen = lmdb.database('seen')
    this.#checkpoint = lmdb.database('checkpoint')
    const marks = lmdb.database<string>('checkpoint')
    this.#known = new KnownIds(this.#seen, () => marks.get(ELSEWHERE), windowMs)
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS)
    this.#timer.unref()
    this.#sweep = sweep(lmdb, this.#seen, time => time < Date.now() - this.#windowMs)
  }

  /** Why the log cannot be followed at the moment. */
  get logFault(): unknown {
    return this.#tail.fault
  }

  /** Green while the log can be followed and the index be written; the detail tells how much is held in memory. */
  probe(): { ok: boolean; detail?: string } {
    if (this.#tail.fault) return { ok: false, detail: 'the log cannot be read to index event ids' }
    if (this.#writeFault) return { ok: false, detail: 'the index of event ids cannot be written' }
    return { ok: true, detail: `${this.#recent.size} event ids in memory` }
  }

  claim(tenants: readonly string[], ids: readonly string[]): Claim {
    const now = Date.now()
    const expired = now - this.#windowMs
    const flight = new Flight()
    const claim = new LogClaim(this, flight)
    for (let i = 0; i < ids.length; i++) {
      const key = idOf(tenants[i] as string, ids[i] as string)
      const recent = this.#recent.get(key)
      if (recent === flight) claim.states.push('repeat')
      else if (recent instanceof Flight && recent.storedAt === undefined) claim.await(recent)
      else {
        const at = recent instanceof Flight ? recent.storedAt : (recent ?? this.#inIndex(key, now))
        if (at !== undefined && at > expired) claim.states.push('seen')
        else {
          this.#recent.set(key, flight)
          claim.states.push('fresh')
          claim.fresh.push(key)
        }
      }
    }
    return claim
  }

  /** Of a log that cannot be read at the moment, others may have learnt more. */
  #inIndex(key: string, now: number): number | undefined {
    return this.#tail.fault ? this.#seen.get(key) : this.#known.get(key, now)
  }

  #note(key: string, at: number): void {
    this.#buffer.push([key, at])
    this.#known.add(key)
  }

  /** In the log at these positions, or, without, to get there. */
  stored(fresh: readonly string[], positions: readonly Position[] | undefined): void {
    if (positions) for (let i = 0; i < fresh.length; i++) this.#stored(fresh[i] as string, positions[i] as Position)
    else {
      // When they will be read back is not known, and memory is not to hold them until then.
      const now = Date.now()
      this.#elsewhere = true
      for (const key of fresh) this.#note(key, now)
    }
  }

  failed(fresh: readonly string[]): void {
    for (const key of fresh) this.#recent.delete(key)
  }

  #stored(key: string, position: Position): void {
    // Reading may have been quicker than the append's own answer; then nothing will come to take it out of memory.
    if (this.#tail.hasRead(position)) {
      this.#note(key, Date.now())
      return
    }
    this.#own[position.partition] ??= new OwnPlaces((a, b) => this.#transport.compare(a, b))
    this.#own[position.partition]?.add(position, key)
  }

  /** An event that waits elsewhere to get into the log, since `at`: its id counts as used. */
  remember(message: Pick<Message, 'value' | 'schema'>, at: number): Promise<void> | undefined {
    this.#elsewhere = true
    this.#note(this.#codec.keyOf(message), at)
    return this.#buffer.length >= FLUSH_ENTRIES ? this.#flush() : undefined
  }

  /** Reads what the log has beyond the checkpoint, then keeps following it. */
  async catchUp(): Promise<void> {
    const started = Date.now()
    const window = this.#window()
    const checkpoint = this.#checkpoint.get(CHECKPOINT)
    const marks = await this.#tail.mark(() => this.#codec.mark(Date.now()))
    const known =
      checkpoint?.cluster === this.#transport.cluster &&
      checkpoint.positions.every(position => {
        const mark = marks[position.partition]
        return mark !== undefined && this.#transport.compare(position, mark) < 0
      })
    // Of another store, or of one that was put back to an earlier state: what is known of it may not be in this log.
    if (checkpoint && !known) {
      this.#log?.warn({}, 'the index of event ids belongs to another state of the log and is made anew')
      await this.lmdb.write(() => Promise.all([this.lmdb.database(ANSWERS).clearAsync(), this.#seen.clearAsync()]))
    }
    const progress = setInterval(() => {
      const seconds = Math.round((Date.now() - started) / 1000)
      this.#log?.info({ indexed: this.#indexed, seconds }, 'indexing event ids')
    }, 2000)
    try {
      await this.#tail.start(known ? { after: checkpoint.positions } : window, marks)
      await this.#flush()
    } finally {
      clearInterval(progress)
    }
  }

  /** A minute earlier than needed: the log's clock may be another machine's. */
  #window(): From {
    return { time: Date.now() - this.#windowMs - 60_000 }
  }

  #take(batch: readonly Received[]): Promise<void> | undefined {
    const oldest = Date.now() - this.#windowMs
    for (const record of batch) {
      let key = this.#own[record.position.partition]?.take(record.position)
      if (key === undefined && record.appendedAt > oldest && !record.headers?.some(([name]) => name === HEADERS.tick))
        key = this.#foreign(record)
      if (key !== undefined) this.#note(key, record.appendedAt)
    }
    this.#indexed += batch.length
    this.#moved = true
    return this.#buffer.length >= FLUSH_ENTRIES ? this.#flush() : undefined
  }

  #foreign(record: Received): string | undefined {
    try {
      const key = this.#codec.keyOf(record)
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
    this.#moved = false
    this.#flushes = this.#flushes.then(() => {
      const entries = this.#buffer
      const elsewhere = this.#elsewhere
      this.#buffer = []
      this.#elsewhere = false
      const { positions } = this.#tail
      return this.#write(entries, elsewhere, positions)
    })
    return this.#flushes
  }

  async #write(
    entries: [key: string, time: number][],
    elsewhere: boolean,
    positions: readonly Position[],
  ): Promise<void> {
    try {
      // Whoever finds one of these in lmdb has to have met the mark before.
      if (elsewhere) await this.lmdb.put(this.lmdb.database<string>('checkpoint'), ELSEWHERE, randomUUID())
      // In the order of the keys lmdb finds their places sooner.
      entries.sort(([a], [b]) => (a < b ? -1 : 1))
      for (let from = 0; from < entries.length; from += PUTS)
        await this.lmdb.write(() => this.#put(entries.slice(from, from + PUTS)))
      await this.lmdb.put(this.#checkpoint, CHECKPOINT, { cluster: this.#transport.cluster, positions })
      for (const [key] of entries) this.#written(key)
      this.#writeFault = undefined
    } catch (error) {
      // Nothing is lost: the ids stay in memory until they can be written, and the checkpoint stays behind them.
      this.#buffer = [...entries, ...this.#buffer]
      this.#elsewhere ||= elsewhere
      if (!this.#writeFault) this.#log?.warn({ err: error }, 'writing the index of event ids failed')
      this.#writeFault = error
    }
  }

  async #put(entries: [key: string, time: number][]): Promise<void> {
    const puts = new Set<Promise<boolean>>()
    for (const [key, time] of entries) {
      // Many of one batch share a promise.
      const put = this.#seen.put(key, time)
      if (!puts.has(put)) puts.add(written(put))
    }
    try {
      await Promise.all(puts)
    } catch (error) {
      await Promise.allSettled(puts)
      throw error
    }
  }

  /** What is under way again, because its window is over, stays. */
  #written(key: string): void {
    const recent = this.#recent.get(key)
    if (!(recent instanceof Flight) || recent.storedAt !== undefined) this.#recent.delete(key)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail[Symbol.asyncDispose]()
    clearInterval(this.#timer)
    this.#sweep[Symbol.dispose]()
    this.#known[Symbol.dispose]()
    await this.#flush()
    await this.lmdb[Symbol.asyncDispose]()
  }
}
