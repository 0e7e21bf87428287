import { mkdirSync, realpathSync } from 'node:fs'
import { LmdbGate } from '../lmdb-gate.ts'
import { type SchemaRef, WeftError } from '../transport.ts'
import { Committer } from './committer.ts'
import { decodeEnds, NO_RECORDS, type PartitionEnds } from './ends.ts'
import { type Environment, openEnvironment, versionBytes } from './environment.ts'
import { checkFile } from './file-check.ts'
import { Janitor } from './janitor.ts'
import { KEY, logKey, offsetOf } from './keys.ts'
import { Room } from './room.ts'
import { Session } from './session.ts'
import { Watch } from './watch.ts'

/** One entry to put, or to remove. */
export interface Write {
  readonly to: 'meta' | 'log' | 'state'
  readonly key: Buffer
  readonly value: Uint8Array | undefined
}

const open_ = new Map<string, Promise<Store>>()

/**
 * One environment of LMDB, shared by all transports that this process opened on its directory: two environments in one
 * process would wait for each other's write lock forever.
 */
export class Store {
  readonly directory: string
  #environment: Environment
  readonly gate: LmdbGate
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
    opening = Store.#open(path)
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

  static async #open(directory: string): Promise<Store> {
    checkFile(directory)
    const gate = new LmdbGate(directory)
    return new Store(directory, gate, await gate.open(() => openEnvironment(directory)))
  }

  private constructor(directory: string, gate: LmdbGate, environment: Environment) {
    this.directory = directory
    this.gate = gate
    this.#environment = environment
    this.committer = new Committer(this)
    this.watch = new Watch(this)
    this.session = new Session(directory)
    this.#room = new Room(directory, `${this.session.path}.room`)
    this.janitor = new Janitor(this)
  }

  get cluster(): string {
    return this.#environment.cluster
  }

  get root(): Environment['root'] {
    return this.#environment.root
  }

  get meta(): Environment['meta'] {
    return this.#environment.meta
  }

  get log(): Environment['log'] {
    return this.#environment.log
  }

  get state(): Environment['state'] {
    return this.#environment.state
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
    this.#environment = await this.gate.open(() => openEnvironment(this.directory))
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
    await this.gate.close(() => this.root.close())
    open_.delete(this.directory)
  }

  /** How many transactions there were; it only rises. */
  version(): number {
    return (this.#environment.versions.getBinaryFast(KEY.version) as Buffer).readDoubleLE(0)
  }

  /**
   * Writes all or nothing off the event loop, and raises the version to `version`; resolves when it is on disk. False, and
   * nothing is written, if the store's version is not the one before it.
   */
  async write(writes: readonly Write[], version: number): Promise<boolean> {
    try {
      this.#makeSure(writes)
      const { versions } = this.#environment
      return await versions.ifVersion(KEY.version, version - 1, () => {
        for (const { to, key, value } of writes) {
          if (value === undefined) this[to].remove(key)
          else this[to].put(key, value as Buffer)
        }
        versions.put(KEY.version, versionBytes(version), version)
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
    this.#environment.versions.putSync(KEY.version, versionBytes(version), version)
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
    return value ? decodeEnds(value) : NO_RECORDS
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
