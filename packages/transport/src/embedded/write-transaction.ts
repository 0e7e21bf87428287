import { type SchemaRef, WeftError } from '../transport.ts'
import { BATCH_BYTES, BATCH_HEADER, type Chunk, writeHeader } from './batch.ts'
import { encodeEnds, type PartitionEnds } from './ends.ts'
import { KEY, logKey } from './keys.ts'
import type { Store, Write } from './store.ts'
import { type Changes, groupKey, partitionKey } from './watch.ts'

/**
 * What one caller wants done in the write transaction. It checks first and throws to be refused alone; once it has put
 * anything it must not throw. It may be called again, if another process was faster: it must change nothing else.
 */
export type Work<T> = (transaction: WriteTransaction) => T

interface Growth {
  readonly topic: number
  readonly partition: number
  ends: PartitionEnds
  readonly chunks: Chunk[]
}

/**
 * Collects what is to be written. What it put is seen by whoever reads the store's meta data while it is being made;
 * appends collect per partition and become batches at the end.
 */
export class WriteTransaction {
  readonly #store: Store
  readonly #growths = new Map<number, Growth>()
  readonly #now = Date.now()
  readonly #keys = new Set<number>()
  readonly #writes: Write[] = []
  readonly #overlay = new Map<string, Buffer | undefined>()
  /** Change of the bytes in all logs, and how many of them are only promised so far. */
  #bytes = 0
  #reserved = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** Runs `work` so that it reads what this transaction put. */
  run<T>(work: Work<T>): T {
    return this.#store.over(this.#overlay, () => work(this))
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
    this.#overlay.set(key.toString('latin1'), value)
    this.#writes.push({ to: 'meta', key, value })
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
    this.#overlay.set(key.toString('latin1'), undefined)
    this.#writes.push({ to: 'meta', key, value: undefined })
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
    this.#writes.push({ to: 'log', key: logKey(topic, partition, base), value: bytes })
  }

  removeBatch(topic: number, partition: number, base: number): void {
    this.#writes.push({ to: 'log', key: logKey(topic, partition, base), value: undefined })
  }

  putState(key: Buffer, value: Uint8Array | undefined): void {
    this.#writes.push({ to: 'state', key, value })
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
    const known = this.#store.schemaId(ref)
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

  /** All that is to be written. */
  finish(): { writes: readonly Write[]; keys: Changes['keys'] } {
    return this.run(() => {
      for (const growth of this.#growths.values()) this.#write(growth)
      if (this.#bytes !== 0) this.putNumber(KEY.bytes, (this.#store.number(KEY.bytes) ?? 0) + this.#bytes)
      for (const key of this.#growths.keys()) this.#keys.add(key)
      return { writes: this.#writes, keys: this.#keys }
    })
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
      this.putBatch(topic, partition, offset, bytes)
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
