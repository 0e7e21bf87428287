import { randomUUID } from 'node:crypto'
import { type Database, open, type RootDatabase } from 'lmdb'
import { WeftError } from '../transport.ts'
import { KEY } from './keys.ts'

/** Raised when the layout changes in a way that older code would misread. */
export const FORMAT = 1

/** Addresses, not memory: a map that never has to move. Windows would set the file to this size, there it grows. */
const MAP_BYTES = process.platform === 'win32' ? 2 ** 20 : 2 ** 36

export type Bytes = Database<Buffer, Buffer>

/** LMDB's environment of a store, and the databases in it. */
export interface Environment {
  readonly root: RootDatabase<Buffer, Buffer>
  readonly meta: Bytes
  readonly log: Bytes
  readonly state: Bytes
  /** One entry: the number of transactions so far, which each one is conditional on. */
  readonly versions: Bytes
  readonly cluster: string
}

/**
 * Opens or creates it; to be called only through the store's gate. INVALID if a newer version of Weft wrote it,
 * UNAVAILABLE with what LMDB says.
 */
export function openEnvironment(directory: string): Environment {
  try {
    const options = {
      path: directory,
      noSubdir: false,
      encoding: 'binary' as const,
      keyEncoding: 'binary' as const,
      overlappingSync: false,
      eventTurnBatching: false,
      // All of a transaction is laid out before the thread that writes it begins.
      batchStartThreshold: 2 ** 30,
      maxReaders: 512,
      mapSize: MAP_BYTES,
    }
    const root = open<Buffer, Buffer>(options)
    const database = { encoding: 'binary', keyEncoding: 'binary' } as const
    const environment = {
      root,
      meta: root.openDB<Buffer, Buffer>({ name: 'meta', ...database }),
      log: root.openDB<Buffer, Buffer>({ name: 'log', ...database }),
      state: root.openDB<Buffer, Buffer>({ name: 'state', ...database }),
      versions: root.openDB<Buffer, Buffer>({ name: 'versions', useVersions: true, ...database }),
    }
    try {
      return { ...environment, cluster: root.transactionSync(() => identify(environment, directory)) }
    } catch (error) {
      void root.close()
      throw error
    }
  } catch (cause) {
    if (cause instanceof WeftError) throw cause
    const problem = (cause as Error).message
    throw new WeftError('UNAVAILABLE', `the store in "${directory}" can't be opened: ${problem}`, { cause })
  }
}

/** The store's id, given to it with its format when it is new. */
function identify({ meta, versions }: Omit<Environment, 'cluster'>, directory: string): string {
  const format = meta.get(KEY.format)
  if (format && Number(format.toString()) > FORMAT)
    throw new WeftError(
      'INVALID',
      `the store in "${directory}" has format ${format}, this version of Weft knows up to ${FORMAT}: use a newer Weft`,
    )
  if (!versions.doesExist(KEY.version)) versions.putSync(KEY.version, versionBytes(0), 0)
  const cluster = meta.get(KEY.cluster)
  if (cluster) return cluster.toString()
  const created = randomUUID()
  meta.putSync(KEY.format, Buffer.from(String(FORMAT)))
  meta.putSync(KEY.cluster, Buffer.from(created))
  return created
}

export function versionBytes(version: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(version)
  return bytes
}
