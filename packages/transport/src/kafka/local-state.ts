import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { LmdbGate } from '../lmdb-gate.ts'
import { WeftError } from '../transport.ts'

type Bytes = RootDatabase<Buffer, Buffer>

/** A key's changes; undefined deletes. Keys as `stateKey` makes them, in latin1. */
export type Changes = ReadonlyMap<string, Uint8Array | undefined>

/** An environment of lmdb, and how it is written: through the gate of those that other processes use too. */
interface Copies {
  readonly database: Bytes
  write<T>(work: () => T): Promise<T>
  close(): Promise<void>
}

const opened = new Map<string, { readonly copies: Promise<Copies>; users: number }>()

/**
 * Local copies of what changelogs say, each with the place in its changelog that it reflects: what is behind that place
 * is all that has to be read when a partition comes. The changelog is the truth, so nothing here is ever synced to disk.
 */
export class LocalState {
  readonly #copies: Copies
  readonly #close: () => Promise<void>

  /** In a directory that outlives the process and that several may use, or in a temporary one. */
  static async open(directory: string | undefined): Promise<LocalState> {
    if (directory === undefined) {
      const temporary = mkdtempSync(join(tmpdir(), 'weft-state-'))
      const database = create(temporary)
      const copies = { database, write: async <T>(work: () => T) => work(), close: () => database.close() }
      return new LocalState(copies, async () => {
        await copies.close()
        rmSync(temporary, { recursive: true, force: true })
      })
    }
    mkdirSync(directory, { recursive: true })
    const path = realpathSync(directory)
    const shared = opened.get(path) ?? { copies: openShared(path), users: 0 }
    opened.set(path, shared)
    shared.users++
    const release = async () => {
      if (--shared.users > 0) return
      opened.delete(path)
      await (await shared.copies).close()
    }
    try {
      return new LocalState(await shared.copies, release)
    } catch (error) {
      await release().catch(() => {})
      throw error
    }
  }

  private constructor(copies: Copies, close: () => Promise<void>) {
    this.#copies = copies
    this.#close = close
  }

  partition(cluster: string, group: string, partition: number): PartitionState {
    const name = createHash('sha256')
      .update(JSON.stringify([cluster, group, partition]))
      .digest()
    return new PartitionState(this.#copies, name.subarray(0, 12))
  }

  close(): Promise<void> {
    return this.#close()
  }
}

async function openShared(path: string): Promise<Copies> {
  const gate = new LmdbGate(path)
  const database = await gate.open(() => create(fresh(path)))
  let writes: Promise<unknown> = Promise.resolve()
  const write = <T>(work: () => T): Promise<T> => {
    const written = writes.then(async () => {
      await gate.enter()
      try {
        return work()
      } finally {
        gate.leave()
      }
    })
    writes = written.catch(() => {})
    return written
  }
  return { database, write, close: () => gate.close(() => database.close()) }
}

/** Pages that were not written out when the machine went down are lost, so a store lives no longer than its boot. */
function fresh(path: string): string {
  const mark = join(path, 'boot')
  const store = join(path, 'store')
  const boot = bootOf()
  let last: string | undefined
  try {
    last = readFileSync(mark, 'utf8')
  } catch {}
  if (boot === undefined || last !== boot) rmSync(store, { recursive: true, force: true })
  writeFileSync(mark, boot ?? '')
  mkdirSync(store, { recursive: true })
  return store
}

/** Undefined where the system doesn't say. */
function bootOf(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')
  } catch {
    return undefined
  }
}

const create = (path: string): Bytes =>
  open<Buffer, Buffer>({ path, encoding: 'binary', keyEncoding: 'binary', noSync: true, noMemInit: true })

export const STATE_KEY_BYTES = 1_900

/** A store's name and a key in it, as a changelog's records have them for key. Keys of a store sort by their bytes. */
export function stateKey(store: string, key: Uint8Array): Buffer {
  const prefix = prefixOf(store)
  if (prefix.length > 256 || prefix.length + key.length > STATE_KEY_BYTES)
    throw new WeftError(
      'TOO_LARGE',
      `a state key and its store's name have ${prefix.length - 1 + key.length} bytes: at most ${STATE_KEY_BYTES - 1}, the name 255`,
    )
  return joined(prefix, key)
}

let last: { readonly store: string; readonly prefix: Buffer } | undefined

/** Most often it is the store of the call before. */
function prefixOf(store: string): Buffer {
  if (last?.store === store) return last.prefix
  const name = Buffer.from(store)
  last = { store, prefix: Buffer.concat([Uint8Array.of(name.length), name]) }
  return last.prefix
}

function joined(a: Uint8Array, b: Uint8Array): Buffer {
  const both = Buffer.allocUnsafe(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

export interface Reflected {
  /** Where the changelog goes on. */
  readonly offset: bigint
  /** Milliseconds since the epoch. */
  readonly at: number
}

const [POSITION, ENTRY, BEHIND] = [Uint8Array.of(0), Uint8Array.of(1), Uint8Array.of(2)]

export class PartitionState {
  readonly #database: Bytes
  readonly #write: Copies['write']
  readonly #name: Uint8Array
  readonly #entries: Uint8Array

  constructor({ database, write }: Copies, name: Uint8Array) {
    this.#database = database
    this.#write = write
    this.#name = name
    this.#entries = joined(name, ENTRY)
  }

  #key(...parts: readonly Uint8Array[]): Buffer {
    return Buffer.concat([this.#name, ...parts])
  }

  get reflected(): Reflected | undefined {
    const bytes = this.#database.get(this.#key(POSITION))
    return bytes && { offset: bytes.readBigInt64BE(0), at: bytes.readDoubleBE(8) }
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#database.get(joined(this.#entries, key))
  }

  *range(from: Uint8Array, to: Uint8Array): Generator<readonly [key: Buffer, value: Uint8Array]> {
    const prefix = this.#name.length + 1
    for (const { key, value } of this.#database.getRange({
      start: this.#key(ENTRY, from),
      end: this.#key(ENTRY, to),
    }))
      yield [key.subarray(prefix), value]
  }

  /** Takes changes over, up to `offset` of the changelog. False, and nothing done, if another has moved it from `expected`. */
  apply(changes: Changes, offset: bigint, expected: bigint | undefined): Promise<boolean> {
    const work = () => {
      if (this.reflected?.offset !== expected) return false
      for (const [key, value] of changes) {
        const at = joined(this.#entries, Buffer.from(key, 'latin1'))
        if (value === undefined) this.#database.removeSync(at)
        else this.#database.putSync(at, Buffer.from(value))
      }
      const position = Buffer.allocUnsafe(16)
      position.writeBigInt64BE(offset, 0)
      position.writeDoubleBE(Date.now(), 8)
      this.#database.putSync(this.#key(POSITION), position)
      return true
    }
    return this.#write(() => this.#database.transactionSync(work))
  }

  /** Forgets everything: it will be read anew. */
  clear(): Promise<void> {
    const work = () => {
      const keys = [...this.#database.getKeys({ start: this.#key(POSITION), end: this.#key(BEHIND) })]
      for (const key of keys) this.#database.removeSync(key)
    }
    return this.#write(() => this.#database.transactionSync(work))
  }
}
