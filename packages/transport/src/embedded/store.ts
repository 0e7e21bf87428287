import { randomUUID } from 'node:crypto'
import { mkdirSync, realpathSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { type SchemaRef, WeftError } from '../transport.ts'
import { Committer } from './committer.ts'
import { checkFile } from './file-check.ts'
import { Janitor } from './janitor.ts'
import { KEY, logKey, offsetOf } from './keys.ts'
import { Room } from './room.ts'
import { Session } from './session.ts'
import { Watch } from './watch.ts'

/** Raised when the layout changes in a way that older code would misread. */
export const FORMAT = 1

/** Addresses, not memory: a map that never has to move. Windows would set the file to this size, there it grows. */
const MAP_BYTES = process.platform === 'win32' ? 2 ** 20 : 2 ** 36

/** One entry to put, or to remove. */
export interface Write {
  readonly to: 'meta' | 'log' | 'state'
  readonly key: Buffer
  readonly value: Uint8Array | undefined
}

const TRIED = Buffer.from('t')

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
  /** One entry: the number of transactions so far, which each one is conditional on. */
  #versions: Bytes
  readonly committer: Committer
  readonly watch: Watch
  readonly session: Session
  readonly janitor: Janitor
  readonly #schemas = new Map<number, SchemaRef>()
  readonly #schemaIds = new Map<string, Map<number, number>>()
  readonly #room: Room
  #users = 0

  /** Opens or creates. INVALID if the store was written by a newer version, or its file is damaged. */
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
    opening = Promise.resolve().then(() => {
      checkFile(path)
      return new Store(path)
    })
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
    const { root, meta, log, state, versions } = this.#environment()
    this.root = root
    this.meta = meta
    this.log = log
    this.state = state
    this.#versions = versions
    try {
      this.cluster = this.root.transactionSync(() => this.#identify())
    } catch (error) {
      void this.root.close()
      throw error
    }
    this.committer = new Committer(this)
    this.watch = new Watch(this)
    this.session = new Session(directory)
    this.#room = new Room(directory, `${this.session.path}.room`)
    this.janitor = new Janitor(this)
  }

  #environment() {
    try {
      const options = {
        path: this.directory,
        noSubdir: false,
        encoding: 'binary' as const,
        keyEncoding: 'binary' as const,
        overlappingSync: false,
        eventTurnBatching: false,
        // All of a transaction is laid out before the thread that writes it begins.
        batchStartThreshold: 2 ** 30,
        maxReaders: 512,
        mapSize: MAP_BYTES,
        // lmdb can remember between transactions which pages are free. Several processes under load, killed and stopped at
        // random, damaged stores that way (MDB_BAD_TXN from mdb_page_touch): far less often since each reads it anew and
        // no transaction is empty, but not never.
        maxFreeSpaceToRetain: 0,
      }
      const root = open<Buffer, Buffer>(options)
      const database = { encoding: 'binary', keyEncoding: 'binary' } as const
      return {
        root,
        meta: root.openDB<Buffer, Buffer>({ name: 'meta', ...database }),
        log: root.openDB<Buffer, Buffer>({ name: 'log', ...database }),
        state: root.openDB<Buffer, Buffer>({ name: 'state', ...database }),
        versions: root.openDB<Buffer, Buffer>({ name: 'versions', useVersions: true, ...database }),
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
      this.version()
      return true
    } catch {
      return false
    }
  }

  /** Opens the environment anew, from what is on disk. */
  async reopen(): Promise<void> {
    await this.root.close()
    const { root, meta, log, state, versions } = this.#environment()
    Object.assign(this, { root, meta, log, state })
    this.#versions = versions
  }

  /** Several processes may create the store at the same moment: whoever has the write lock first does it. */
  #identify(): string {
    const format = this.meta.get(KEY.format)
    if (format && Number(format.toString()) > FORMAT)
      throw new WeftError(
        'INVALID',
        `the store in "${this.directory}" has format ${format}, this version of Weft knows up to ${FORMAT}: use a newer Weft`,
      )
    if (!this.#versions.doesExist(KEY.version)) this.#versions.putSync(KEY.version, number(0), 0)
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
    this.#room.close()
    await this.root.close()
    open_.delete(this.directory)
  }

  /** How many transactions there were; it only rises. */
  version(): number {
    return (this.#versions.getBinaryFast(KEY.version) as Buffer).readDoubleLE(0)
  }

  /**
   * Writes all or nothing off the event loop, and raises the version to `version`; resolves when it is on disk. False, and
   * nothing is written, if the store's version is not the one before it.
   */
  async write(writes: readonly Write[], version: number): Promise<boolean> {
    try {
      this.#makeSure(writes)
      // So that none is empty, even if another process was faster: see #environment().
      this.#versions.put(TRIED, number(version), 0).catch(() => {})
      return await this.#versions.ifVersion(KEY.version, version - 1, () => {
        for (const { to, key, value } of writes) {
          if (value === undefined) this[to].remove(key)
          else this[to].put(key, value as Buffer)
        }
        this.#versions.put(KEY.version, number(version), version)
      })
    } catch (error) {
      // What lmdb rejects with tells only that, and later, why.
      throw await ((error as { commitError?: Promise<never> }).commitError?.catch(reason => reason) ?? error)
    }
  }

  /** The same at once, inside a transaction of lmdb. */
  writeNow(writes: readonly Write[], version: number): void {
    this.#makeSure(writes)
    for (const { to, key, value } of writes) {
      if (value === undefined) this[to].removeSync(key)
      else this[to].putSync(key, value as Buffer)
    }
    this.#versions.putSync(KEY.version, number(version), version)
  }

  #makeSure(writes: readonly Write[]): void {
    const bytes = writes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0)
    this.#room.check(bytes, writes.length)
  }

  #overlay: ReadonlyMap<string, Buffer | undefined> | undefined

  /** While `work` runs, what it reads of the meta data lies under `overlay`, by the keys in latin1. */
  over<T>(overlay: ReadonlyMap<string, Buffer | undefined>, work: () => T): T {
    this.#overlay = overlay
    try {
      return work()
    } finally {
      this.#overlay = undefined
    }
  }

  /** An entry of the meta data, valid until the next one is read. */
  get(key: Buffer): Buffer | undefined {
    if (this.#overlay && this.#overlay.size > 0) {
      const name = key.toString('latin1')
      const own = this.#overlay.get(name)
      if (own || this.#overlay.has(name)) return own
    }
    return this.meta.getBinaryFast(key)
  }

  json<T>(key: Buffer): T | undefined {
    const value = this.get(key)
    return value && (JSON.parse(value.toString('utf8', 0, value.length)) as T)
  }

  /** What the meta data has from `start` up to and without `end`. */
  entries<T>(start: Buffer, end: Buffer): T[] {
    const found = new Map<string, Buffer>()
    for (const { key, value } of this.meta.getRange({ start, end })) found.set(key.toString('latin1'), value)
    const [low, high] = [start.toString('latin1'), end.toString('latin1')]
    for (const [name, value] of this.#overlay ?? []) {
      if (name < low || name >= high) continue
      if (value) found.set(name, value)
      else found.delete(name)
    }
    return [...found.values()].map(value => JSON.parse(value.toString()) as T)
  }

  number(key: Buffer): number | undefined {
    return this.get(key)?.readDoubleLE(0)
  }

  ends(topic: number, partition: number): PartitionEnds {
    const value = this.get(KEY.partition(topic, partition))
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
  schemaId = (ref: SchemaRef): number | undefined => {
    let id = this.#schemaIds.get(ref.subject)?.get(ref.version)
    if (id === undefined) {
      id = this.number(KEY.schema(ref.subject, ref.version))
      if (id !== undefined && !this.#overlay) this.#remember(ref, id)
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

function number(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(value)
  return bytes
}
