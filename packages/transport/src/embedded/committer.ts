import { type SchemaRef, WeftError } from '../transport.ts'
import { BATCH_BYTES, BATCH_HEADER, type Chunk, writeHeader } from './batch.ts'
import { KEY, logKey } from './keys.ts'
import { encodeEnds, type PartitionEnds, type Store } from './store.ts'
import { type Changes, groupKey, partitionKey } from './watch.ts'

/**
 * What one caller wants done in the write transaction. It checks first and throws to be refused alone; once it has put
 * anything it must not throw.
 */
export type Work<T> = (transaction: WriteTransaction) => T

interface Pending {
  readonly work: Work<unknown>
  readonly resolve: (result: never) => void
  readonly reject: (error: unknown) => void
}

/**
 * Group commit: everything that waits goes into one write transaction with one fsync, off the event loop; what arrives
 * meanwhile forms the next. Results are handed out only when the transaction is on disk.
 */
export class Committer {
  readonly #store: Store
  #pending: Pending[] = []
  #running: Promise<void> | undefined
  #closed = false

  constructor(store: Store) {
    this.#store = store
  }

  /** Resolves with what `work` returned once it is durable. UNAVAILABLE if the store can't take it. */
  commit<T>(work: Work<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new WeftError('CLOSED', 'the transport was closed'))
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ work, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }

  async #run(): Promise<void> {
    await undefined
    while (this.#pending.length > 0) {
      const batch = this.#pending
      this.#pending = []
      const changes = await this.#transact(batch)
      if (changes) this.#store.watch.committed(changes)
    }
    this.#running = undefined
  }

  async #transact(batch: readonly Pending[]): Promise<Changes | undefined> {
    const outcomes: { result?: unknown; error?: unknown }[] = []
    let failure: WeftError | undefined
    let changes: Changes | undefined
    try {
      if (!this.#store.isSound()) await this.#store.reopen()
      // A child of lmdb's own transaction: only that can be taken back as a whole.
      changes = await this.#store.root.childTransaction(() => {
        const transaction = new WriteTransaction(this.#store)
        for (const { work } of batch) outcomes.push(attempt(() => work(transaction)))
        return transaction.finish()
      })
    } catch (error) {
      const { commitError } = error as { commitError?: Promise<never> }
      const cause = commitError ? await commitError.catch(reason => reason) : error
      const { directory } = this.#store
      failure = new WeftError('UNAVAILABLE', `the store in "${directory}" could not write: ${cause.message}`, { cause })
    }
    batch.forEach(({ resolve, reject }, i) => {
      const outcome = outcomes[i]
      if (failure) reject(failure)
      else if (outcome && 'error' in outcome) reject(outcome.error)
      else resolve(outcome?.result as never)
    })
    return changes
  }
}

/** What a caller did wrong is its own affair; any other error spoils the transaction. */
function attempt(work: () => unknown): { result?: unknown; error?: unknown } {
  try {
    return { result: work() }
  } catch (error) {
    if (error instanceof WeftError) return { error }
    throw error
  }
}

interface Growth {
  readonly topic: number
  readonly partition: number
  ends: PartitionEnds
  readonly chunks: Chunk[]
}

/** Appends collect per partition and are put as batches at the end; everything else is put at once. */
export class WriteTransaction {
  readonly #store: Store
  readonly #growths = new Map<number, Growth>()
  readonly #now = Date.now()
  readonly #keys = new Set<number>()
  #changed = false
  /** Change of the bytes in all logs, and how many of them are only promised so far. */
  #bytes = 0
  #reserved = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** To be asked before appending. UNAVAILABLE if the store would hold more than `most`. */
  reserve(bytes: number, most: number): void {
    if (most === Number.POSITIVE_INFINITY) return
    const stored = (this.#store.number(KEY.bytes) ?? 0) + this.#bytes + this.#reserved
    if (stored + bytes > most)
      throw new WeftError(
        'UNAVAILABLE',
        `the store in "${this.#store.directory}" is full: it holds ${stored} of ${most} bytes, and ${bytes} were to come`,
      )
    this.#reserved += bytes
  }

  /** The offset of the chunk's first record. */
  append(topic: number, partition: number, chunk: Chunk): number {
    const id = partitionKey(topic, partition)
    let growth = this.#growths.get(id)
    if (!growth) {
      growth = { topic, partition, ends: this.#store.ends(topic, partition), chunks: [] }
      this.#growths.set(id, growth)
    }
    const base = growth.ends.next
    growth.ends = { ...growth.ends, next: base + chunk.count }
    growth.chunks.push(chunk)
    return base
  }

  put(key: Buffer, value: Buffer): void {
    this.#changed = true
    this.#store.meta.putSync(key, value)
  }

  putJson(key: Buffer, value: unknown): void {
    this.put(key, Buffer.from(JSON.stringify(value)))
  }

  putNumber(key: Buffer, value: number): void {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeDoubleLE(value)
    this.put(key, bytes)
  }

  remove(key: Buffer): void {
    this.#changed = true
    this.#store.meta.removeSync(key)
  }

  /** Takes bytes away from a partition, and what lies before `first`. */
  shrink(topic: number, partition: number, bytes: number, first?: number): void {
    this.#bytes -= bytes
    const growth = this.#growths.get(partitionKey(topic, partition))
    const before = growth?.ends ?? this.#store.ends(topic, partition)
    const ends = { ...before, bytes: before.bytes - bytes, first: first ?? before.first }
    if (growth) growth.ends = ends
    else this.put(KEY.partition(topic, partition), encodeEnds(ends))
  }

  putBatch(topic: number, partition: number, base: number, bytes: Buffer): void {
    this.#changed = true
    this.#store.log.putSync(logKey(topic, partition, base), bytes)
  }

  removeBatch(topic: number, partition: number, base: number): void {
    this.#changed = true
    this.#store.log.removeSync(logKey(topic, partition, base))
  }

  putState(key: Buffer, value: Buffer | Uint8Array | undefined): void {
    this.#changed = true
    if (value === undefined) this.#store.state.removeSync(key)
    else this.#store.state.putSync(key, value as Buffer)
  }

  /** A number that no other topic, group or schema of its kind has. */
  newId(kind: 'topic' | 'group' | 'schema'): number {
    const ids = this.#store.json<Record<string, number>>(KEY.ids) ?? {}
    const id = (ids[kind] ?? 0) + 1
    this.putJson(KEY.ids, { ...ids, [kind]: id })
    return id
  }

  /** The id of a schema, given to it if it is new. */
  schemaId(ref: SchemaRef): number {
    const known = this.#store.schemaId(ref, false)
    if (known !== undefined) return known
    const id = this.newId('schema')
    this.putNumber(KEY.schema(ref.subject, ref.version), id)
    this.putJson(KEY.schemaId(id), { subject: ref.subject, version: ref.version })
    return id
  }

  /** Raises the number that members of the group watch. */
  touchGroup(group: number): number {
    const key = KEY.groupVersion(group)
    const version = (this.#store.number(key) ?? 0) + 1
    this.putNumber(key, version)
    this.#keys.add(groupKey(group))
    return version
  }

  finish(): Changes {
    for (const growth of this.#growths.values()) this.#write(growth)
    if (this.#bytes !== 0) this.putNumber(KEY.bytes, (this.#store.number(KEY.bytes) ?? 0) + this.#bytes)
    if (!this.#changed) return { version: undefined, keys: this.#keys }
    const version = (this.#store.number(KEY.version) ?? 0) + 1
    this.putNumber(KEY.version, version)
    for (const key of this.#growths.keys()) this.#keys.add(key)
    return { version, keys: this.#keys }
  }

  #write({ topic, partition, ends, chunks }: Growth): void {
    const appendedAt = Math.max(this.#now, ends.appendedAt)
    let offset = ends.next - chunks.reduce((sum, chunk) => sum + chunk.count, 0)
    let stored = 0
    for (let from = 0; from < chunks.length; ) {
      let to = from
      let size = BATCH_HEADER
      let count = 0
      do {
        const chunk = chunks[to++] as Chunk
        size += chunk.bytes.length - BATCH_HEADER
        count += chunk.count
      } while (to < chunks.length && size + (chunks[to] as Chunk).bytes.length - BATCH_HEADER <= BATCH_BYTES)
      const bytes = to - from === 1 ? (chunks[from] as Chunk).bytes : join(chunks, from, to, size)
      writeHeader(bytes, count, count, appendedAt)
      this.#store.log.putSync(logKey(topic, partition, offset), bytes)
      offset += count
      stored += size
      from = to
    }
    this.#bytes += stored
    this.put(KEY.partition(topic, partition), encodeEnds({ ...ends, appendedAt, bytes: ends.bytes + stored }))
  }
}

function join(chunks: readonly Chunk[], from: number, to: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(size)
  let at = BATCH_HEADER
  for (let i = from; i < to; i++) at += (chunks[i] as Chunk).bytes.copy(bytes, at, BATCH_HEADER)
  return bytes
}
