import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { WeftError } from '../transport.ts'

/** Of a page with a meta record, as lmdb's `MDB_meta` has it behind the page's header. */
const MAGIC = { at: 24, is: 0xbeefc0de }
const PAGE_SIZE_AT = 48
const LAST_PAGE_AT = 144
const TRANSACTION_AT = 152
const META_BYTES = 160

/** Pages that were taken and given back in one transaction are counted and never written. */
const UNWRITTEN_BYTES = 4 * 2 ** 20

/**
 * LMDB maps its file without looking at it, and what is no store of its or only a part of one ends the process with a
 * signal. INVALID for a file that it must not open; none, or one that was just made, is fine.
 */
export function checkFile(directory: string): void {
  const path = join(directory, 'data.mdb')
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    // Missing, or not to be read: opening says so.
    return
  }
  try {
    const { size } = fstatSync(file)
    if (size === 0) return
    const first = metaAt(file, 0)
    const second = first && metaAt(file, first.pageSize)
    if (!first || !second)
      throw new WeftError('INVALID', `"${path}" is not a store of Weft, or it is damaged: restore a copy, or remove it`)
    const { lastPage, pageSize } = first.transaction > second.transaction ? first : second
    if (size + UNWRITTEN_BYTES < (lastPage + 1) * pageSize)
      throw new WeftError(
        'INVALID',
        `the store in "${directory}" is cut short: data.mdb has ${size} of ${(lastPage + 1) * pageSize} bytes; copy it again, or while it is in use with a backup`,
      )
  } finally {
    closeSync(file)
  }
}

function metaAt(file: number, at: number) {
  const bytes = Buffer.alloc(META_BYTES)
  if (readSync(file, bytes, 0, META_BYTES, at) < META_BYTES || bytes.readUInt32LE(MAGIC.at) !== MAGIC.is)
    return undefined
  const pageSize = bytes.readUInt32LE(PAGE_SIZE_AT)
  if (pageSize < 256 || pageSize > 65_536) return undefined
  return {
    pageSize,
    lastPage: Number(bytes.readBigUInt64LE(LAST_PAGE_AT)),
    transaction: bytes.readBigUInt64LE(TRANSACTION_AT),
  }
}
