import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  decodeGivenUp,
  decodeRecordHead,
  decodeSegmentHead,
  firstOf,
  isWhole,
  KIND,
  MAGIC,
  MARKER_BYTES,
  RECORD_HEAD,
} from './format.ts'

/** A record that was read whole; `last` is its own sequence, or the last one that it stands for. */
export interface Scanned {
  readonly sequence: number
  readonly last: number
  readonly at: number
  readonly kind: number
  /** Where it lies in its file. */
  readonly from: number
  readonly to: number
  readonly body: Buffer
}

/**
 * torn: the file ends within a record, as it does when its writer is killed: nobody was told that it was kept.
 * damaged: bytes that are no record lie where one was. missing: sequences that should be there and are not.
 */
export interface Fault {
  readonly kind: 'torn' | 'damaged' | 'missing'
  readonly segment: string
  /** Bytes of the file, `to` exclusive; equal where nothing is there. */
  readonly from: number
  readonly to: number
  /** The sequences concerned, both inclusive, as far as the neighbours tell; `last` below `first` where they do not. */
  readonly first: number
  readonly last: number
}

export interface Segment {
  readonly name: string
  readonly first: number
  /** undefined: its head cannot be read. */
  readonly cluster: string | undefined
  readonly bytes: number
  readonly records: readonly Scanned[]
  readonly faults: readonly Fault[]
  /** Sequence behind its last record; its first if it has none. */
  readonly next: number
}

/** The names of the segments of a directory, in order. */
export async function segmentNames(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter(name => firstOf(name) !== undefined).sort()
}

/** Of a spool, one segment after the other; each is forgotten before the next is read, unless the caller keeps it. */
export async function* scanSegments(directory: string): AsyncGenerator<Segment> {
  const names = await segmentNames(directory)
  let expected: number | undefined
  for (const [index, name] of names.entries()) {
    const bytes = await readFile(join(directory, name)).catch((error: NodeJS.ErrnoException) => {
      // Replayed and deleted since the directory was read.
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (bytes === undefined) continue
    const segment = scanSegment(name, bytes, index === names.length - 1)
    const lost: Fault[] =
      expected !== undefined && segment.first > expected
        ? [{ kind: 'missing', segment: name, from: 0, to: 0, first: expected, last: segment.first - 1 }]
        : []
    yield lost.length > 0 ? { ...segment, faults: [...lost, ...segment.faults] } : segment
    expected = Math.max(expected ?? 0, segment.next)
  }
}

/** `final`: the spool's last segment, whose end may be torn. In others every record was promised. */
export function scanSegment(name: string, bytes: Buffer, final: boolean): Segment {
  const head = decodeSegmentHead(bytes)
  const first = firstOf(name) ?? head?.first ?? 1
  const records: Scanned[] = []
  const faults: Fault[] = []
  let next = first
  let at = head?.length ?? 0
  if (bytes.length === 0) faults.push({ kind: 'torn', segment: name, from: 0, to: 0, first, last: first - 1 })
  while (at < bytes.length) {
    const record = readRecord(bytes, at)
    if (record?.sequence === next) {
      records.push(record)
      next = record.last + 1
      at = record.to
      continue
    }
    const found = nextRecord(bytes, at, next)
    const kind = found ? (found.from === at ? 'missing' : 'damaged') : final && isTorn(bytes, at) ? 'torn' : 'damaged'
    const to = found?.from ?? bytes.length
    faults.push({ kind, segment: name, from: at, to, first: next, last: (found?.sequence ?? next) - 1 })
    next = found?.sequence ?? next
    at = to
  }
  return { name, first, cluster: head?.cluster, bytes: bytes.length, records, faults, next }
}

/** The record that begins there, whole and undamaged; undefined if none does. */
export function readRecord(bytes: Buffer, from: number): Scanned | undefined {
  const head = decodeRecordHead(bytes, from)
  if (!head) return undefined
  const to = from + RECORD_HEAD + head.length
  if (to > bytes.length) return undefined
  const body = bytes.subarray(from + RECORD_HEAD, to)
  if (!isWhole(head, body)) return undefined
  const { sequence, at, kind } = head
  return { sequence, last: kind === KIND.givenUp ? decodeGivenUp(body) : sequence, at, kind, from, to, body }
}

/** The first whole record from there on that can follow. */
export function nextRecord(bytes: Buffer, from: number, next: number): Scanned | undefined {
  for (let at = bytes.indexOf(MARKER_BYTES, from); at >= 0; at = bytes.indexOf(MARKER_BYTES, at + 1)) {
    const record = readRecord(bytes, at)
    if (record && record.sequence >= next) return record
  }
  return undefined
}

/**
 * Whether the rest of a file is a record cut short, or room that was never written. A record that is there in its full
 * length and wrong was damaged, and may have been promised.
 */
function isTorn(bytes: Buffer, from: number): boolean {
  const rest = bytes.subarray(from)
  if (rest.every(byte => byte === 0)) return true
  if (from === 0) {
    const begins = MAGIC.subarray(0, rest.length).equals(rest.subarray(0, MAGIC.length))
    return begins && (rest.length < 18 || rest.length < 22 + rest.readUInt16LE(16))
  }
  if (rest.length < RECORD_HEAD)
    return MARKER_BYTES.subarray(0, rest.length).equals(rest.subarray(0, MARKER_BYTES.length))
  const head = decodeRecordHead(bytes, from)
  return head !== undefined && rest.length < RECORD_HEAD + head.length
}
