import { crc32 } from 'node:zlib'
import type { Message } from '@weft/transport'
import { Packr } from 'msgpackr'

/**
 * A segment file: a head (magic, first sequence, cluster, checksum), then records without a gap between them:
 *
 *     marker u32 | length u32 | sequence u64 | at f64 | kind u8 | 3 × 0 | checksum of the body u32 | of the head u32 | body
 *
 * Numbers are little-endian, `length` is that of the body. Sequences rise by one, over all segments of a spool.
 */
export const MAGIC = Buffer.from('WEFTSPL1')
export const RECORD_HEAD = 36
const MARKER = 0x5ec0_7d91
export const MARKER_BYTES = Buffer.from([0x91, 0x7d, 0xc0, 0x5e])
/** More than any transport takes as one message. */
export const MAX_BODY = 64 << 20

/** message: one that waits for the log. given-up: stands for sequences up to its `last` that could not be read any more. */
export const KIND = { message: 0, givenUp: 1 } as const

export interface RecordHead {
  readonly length: number
  readonly sequence: number
  /** When it came into the spool, milliseconds since the epoch. */
  readonly at: number
  readonly kind: number
  readonly checksum: number
}

export interface SegmentHead {
  /** Sequence of the first record. */
  readonly first: number
  /** The log that the messages are meant for. */
  readonly cluster: string
  /** Where the first record begins. */
  readonly length: number
}

export const segmentName = (first: number): string => `${String(first).padStart(20, '0')}.spool`

/** The first sequence of the segment that a file is; undefined for any other file. */
export function firstOf(name: string): number | undefined {
  const match = /^(\d{20})\.spool$/.exec(name)
  return match ? Number(match[1]) : undefined
}

export function encodeSegmentHead(first: number, cluster: string): Buffer {
  const name = Buffer.from(cluster)
  const head = Buffer.alloc(MAGIC.length + 8 + 2 + name.length + 4)
  MAGIC.copy(head)
  head.writeBigUInt64LE(BigInt(first), 8)
  head.writeUInt16LE(name.length, 16)
  name.copy(head, 18)
  head.writeUInt32LE(crc32(head.subarray(0, -4)), head.length - 4)
  return head
}

/** undefined if it is damaged or cut short. */
export function decodeSegmentHead(bytes: Buffer): SegmentHead | undefined {
  if (bytes.length < 22 || !bytes.subarray(0, 8).equals(MAGIC)) return undefined
  const end = 18 + bytes.readUInt16LE(16)
  if (bytes.length < end + 4 || bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return undefined
  return { first: Number(bytes.readBigUInt64LE(8)), cluster: bytes.toString('utf8', 18, end), length: end + 4 }
}

export function encodeRecord(kind: number, sequence: number, at: number, body: Uint8Array): Buffer {
  const record = Buffer.allocUnsafe(RECORD_HEAD + body.length)
  record.writeUInt32LE(MARKER, 0)
  record.writeUInt32LE(body.length, 4)
  record.writeBigUInt64LE(BigInt(sequence), 8)
  record.writeDoubleLE(at, 16)
  record.writeUInt32LE(kind, 24)
  record.writeUInt32LE(crc32(body), 28)
  record.writeUInt32LE(crc32(record.subarray(0, 32)), 32)
  record.set(body, RECORD_HEAD)
  return record
}

/** undefined if no whole, undamaged head begins there. */
export function decodeRecordHead(bytes: Buffer, offset: number): RecordHead | undefined {
  if (bytes.length - offset < RECORD_HEAD || bytes.readUInt32LE(offset) !== MARKER) return undefined
  if (bytes.readUInt32LE(offset + 32) !== crc32(bytes.subarray(offset, offset + 32))) return undefined
  const length = bytes.readUInt32LE(offset + 4)
  if (length > MAX_BODY) return undefined
  return {
    length,
    sequence: Number(bytes.readBigUInt64LE(offset + 8)),
    at: bytes.readDoubleLE(offset + 16),
    kind: bytes.readUInt32LE(offset + 24),
    checksum: bytes.readUInt32LE(offset + 28),
  }
}

export const isWhole = (head: RecordHead, body: Buffer): boolean => crc32(body) === head.checksum

const packr = new Packr({ useRecords: false })

export const encodeMessage = ({ key, value, time, headers, schema }: Message): Uint8Array =>
  packr.pack([key ?? null, value, time, headers ?? [], schema ? [schema.subject, schema.version] : null])

export function decodeMessage(body: Uint8Array): Message {
  const [key, value, time, headers, schema] = packr.unpack(body)
  return {
    ...(key !== null && { key }),
    value,
    time,
    headers,
    ...(schema && { schema: { subject: schema[0], version: schema[1] } }),
  }
}

/** Body of a given-up record: the last sequence that it stands for. */
export const encodeGivenUp = (last: number): Uint8Array => packr.pack(last)
export const decodeGivenUp = (body: Uint8Array): number => packr.unpack(body)
