import { randomUUID } from 'node:crypto'
import { mkdirSync, realpathSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { type SchemaRef, WeftError } from '../transport.ts'
import { Committer } from './committer.ts'
import { Janitor } from './janitor.ts'
import { KEY, logKey, offsetOf } from './keys.ts'
import { Session } from './session.ts'
import { Watch } from './watch.ts'

/** Raised when the layout changes in a way that older code would misread. */
export const FORMAT = 1

/** Addresses, not memory: a map that never has to move. Windows would set the file to this size, there it grows. */
const MAP_BYTES = process.platform === 'win32' ? 2 ** 20 : 2 ** 36

export type Bytes = Database<Buffer, Buffer>

export interface PartitionEnds {
  readonly first: number
  readonly next: number
  /** Of the batches it holds. */
  readonly bytes: number
  /** Of the newest record, milliseconds since the epoch. */
  readonly appendedAt: number
}

const NO_RECORDS: PartitionEnds = { first: 0, next: 0, bytes: 0, appendedAt: 0 }

export function encodeEnds(ends: PartitionEnds): Buffer {
  const bytes = Buffer.allocUnsafe(32)
  bytes.writeDoubleLE(ends.first, 0)
  bytes.writeDoubleLE(ends.next, 8)
  bytes.writeDoubleLE(ends.bytes, 16)
  bytes.writeDoubleLE(ends.appendedAt, 24)
  return bytes
}

const open_ = new Map<string, Promise<Store>>()

/**
 * One environment of LMDB, shared by all transports that this process opened on its directory: two environments in one
 * process would wait for each other's write lock forever.
 */
export class Store {
  readonly cluster: string
  readonly directory: string
  root: RootDatabase<Buffer, Buffer>
  log: Bytes
  state: Bytes
  meta: Bytes
  readonly committer: Committer
  readonly watch: Watch
  readonly session: Session
  readonly janitor: Janitor
  readonly #schemas = new Map<number, SchemaRef>()
  readonly #schemaIds = new Map<string, Map<number, number>>()
  #users = 0

  /** Opens or creates. INVALID if the store was written by a newer version. */
  static async open(directory: string): Promise<Store> {
    mkdirSync(directory, { recursive: true })
    const path = realpathSync(directory)
    let opening = open_.get(path)
    while (opening) {
      const store = await opening.catch(() => undefined)
      if (store?.retain()) return store
      await store?.release()
      if (open_.get(path) === opening) open_.delete(path)
      opening = open_.get(path)
    }
    opening = Promise.resolve().then(() => new Store(path))
    open_.set(path, opening)
    try {
      const store = await opening
      store.retain()
      return store
    } catch (error) {
      open_.delete(path)
      throw error
    }
  }

  private constructor(directory: string) {
    this.directory = directory
    const { root, meta, log, state } = this.#environment()
    this.root = root
    this.meta = meta
    this.log = log
    this.state = state
    try {
      this.cluster = this.root.transactionSync(() => this.#identify())
    } catch (error) {
      void this.root.close()
      throw error
    }
    this.committer = new Committer(this)
    this.watch = new Watch(this)
    this.session = new Session(directory)
    this.janitor = new Janitor(this)
  }

  #environment() {
    try {
      const root = open<Buffer, Buffer>({
        path: this.directory,
        noSubdir: false,
        encoding: 'binary',
        keyEncoding: 'binary',
        overlappingSync: false,
        eventTurnBatching: false,
        maxReaders: 512,
        mapSize: MAP_BYTES,
      })
      const database = { encoding: 'binary', keyEncoding: 'binary' } as const
      return {
        root,
        meta: root.openDB<Buffer, Buffer>({ name: 'meta', ...database }),
        log: root.openDB<Buffer, Buffer>({ name: 'log', ...database }),
        state: root.openDB<Buffer, Buffer>({ name: 'state', ...database }),
      }
    } catch (cause) {
      const problem = (cause as Error).message
      throw new WeftError('UNAVAILABLE', `the store in "${this.directory}" can't be opened: ${problem}`, { cause })
    }
  }

  /** False after a failure that LMDB does not recover from in this process: its last page of all could not be written. */
  isSound(): boolean {
    try {
      this.root.resetReadTxn()
      this.meta.getBinaryFast(KEY.version)
      return true
    } catch {
      return false
    }
  }

  /** Opens the environment anew, from what is on disk. */
  async reopen(): Promise<void> {
    await this.root.close()
    Object.assign(this, this.#environment())
  }

  /** Several processes may create the store at the same moment: whoever has the write lock first does it. */
  #identify(): string {
    const format = this.meta.get(KEY.format)
    if (format && Number(format.toString()) > FORMAT)
      throw new WeftError(
        'INVALID',
        `the store in "${this.directory}" has format ${format}, this version of Weft knows up to ${FORMAT}: use a newer Weft`,
      )
    const cluster = this.meta.get(KEY.cluster)
    if (cluster) return cluster.toString()
    const created = randomUUID()
    this.meta.putSync(KEY.format, Buffer.from(String(FORMAT)))
    this.meta.putSync(KEY.cluster, Buffer.from(created))
    return created
  }

  #closing: Promise<void> | undefined

  /** False once it is closing. */
  retain(): boolean {
    if (this.#closing) return false
    this.#users++
    return true
  }

  /** The last user's release closes the environment. */
  async release(): Promise<void> {
    if (!this.#closing && --this.#users > 0) return
    this.#closing ??= this.#close()
    await this.#closing
  }

  async #close(): Promise<void> {
    await this.janitor.close()
    this.watch.close()
    await this.committer.close()
    this.session.close()
    await this.root.close()
    open_.delete(this.directory)
  }

  json<T>(key: Buffer): T | undefined {
    const value = this.meta.getBinaryFast(key)
    return value && (JSON.parse(value.toString('utf8', 0, value.length)) as T)
  }

  *entries<T>(prefix: Buffer, end: Buffer): Generator<{ key: Buffer; value: T }> {
    for (const { key, value } of [...this.meta.getRange({ start: prefix, end })])
      yield { key: Buffer.from(key), value: JSON.parse(value.toString()) as T }
  }

  number(key: Buffer): number | undefined {
    const value = this.meta.getBinaryFast(key)
    return value?.readDoubleLE(0)
  }

  ends(topic: number, partition: number): PartitionEnds {
    const value = this.meta.getBinaryFast(KEY.partition(topic, partition))
    if (!value) return NO_RECORDS
    return {
      first: value.readDoubleLE(0),
      next: value.readDoubleLE(8),
      bytes: value.readDoubleLE(16),
      appendedAt: value.readDoubleLE(24),
    }
  }

  /** The batch that holds `offset`, or else the next one behind it. */
  batchAt(topic: number, partition: number, offset: number): { base: number; bytes: Buffer } | undefined {
    const exact = this.log.getBinary(logKey(topic, partition, offset))
    if (exact) return { base: offset, bytes: exact }
    const start = logKey(topic, partition, offset)
    for (const { key, value } of this.log.getRange({
      start,
      end: logKey(topic, partition, 0),
      reverse: true,
      inclusiveEnd: true,
      limit: 1,
    } as object)) {
      const base = offsetOf(key)
      if (base + value.readUInt32LE(8) > offset) return { base, bytes: value }
    }
    for (const { key, value } of this.log.getRange({ start, end: logKey(topic, partition + 1, 0), limit: 1 }))
      return { base: offsetOf(key), bytes: value }
    return undefined
  }

  schema = (id: number): SchemaRef => {
    let ref = this.#schemas.get(id)
    if (!ref) {
      ref = this.json<SchemaRef>(KEY.schemaId(id))
      if (!ref) throw new WeftError('SCHEMA', `the store in "${this.directory}" has no schema with id ${id}`)
      this.#remember(ref, id)
    }
    return ref
  }

  /** Undefined for a schema that the store does not know yet. */
  schemaId = (ref: SchemaRef, remember = true): number | undefined => {
    let id = this.#schemaIds.get(ref.subject)?.get(ref.version)
    if (id === undefined) {
      id = this.number(KEY.schema(ref.subject, ref.version))
      if (id !== undefined && remember) this.#remember(ref, id)
    }
    return id
  }

  #remember(ref: SchemaRef, id: number): void {
    this.#schemas.set(id, ref)
    let versions = this.#schemaIds.get(ref.subject)
    if (!versions) {
      versions = new Map()
      this.#schemaIds.set(ref.subject, versions)
    }
    versions.set(ref.version, id)
  }
}
