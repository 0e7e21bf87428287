import { type Codec, codecNumbered } from './compression.ts'
import { type FetchedBatch, KafkaError } from './driver.ts'

const [COMPRESSION, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL] = [0b111, 0b1000, 0b1_0000, 0b10_0000]
const HEADER_BYTES = 61
const NOTHING = Buffer.alloc(0)

/**
 * The batches of an answer to Fetch; the last one may be cut off, and is left out then. Checksums are not compared: TCP
 * has done so, and it costs more than all the rest. UNREADABLE: a format of before Kafka 0.11, or a compression that
 * nobody knows.
 */
export function decodeBatches(bytes: Buffer): FetchedBatch[] {
  const batches: FetchedBatch[] = []
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8)
    if (end > bytes.length) break
    batches.push(decodeBatch(bytes.subarray(at, end)))
    at = end
  }
  return batches
}

function decodeBatch(bytes: Buffer): FetchedBatch {
  const first = bytes.readBigInt64BE(0)
  if (bytes[16] !== 2)
    throw new KafkaError('UNREADABLE', `records in Kafka's message format ${bytes[16]}, of before 0.11: only 2 is read`)
  const attributes = bytes.readInt16BE(21)
  const records = recordsOf(bytes, first)
  return {
    first,
    last: first + BigInt(bytes.readInt32BE(23)),
    producer: bytes.readBigInt64BE(43),
    transactional: (attributes & TRANSACTIONAL) !== 0,
    ...(attributes & CONTROL ? { control: markerOf(records[0]?.key) } : {}),
    ...(attributes & LOG_APPEND_TIME ? { appendedAt: Number(bytes.readBigInt64BE(35)) } : {}),
    records,
  }
}

/** A marker's key holds a version and what it says, 0 for an abort: https://kafka.apache.org/documentation/#controlbatch. */
const markerOf = (key: Uint8Array | null | undefined): 'commit' | 'abort' => (key?.[3] === 0 ? 'abort' : 'commit')

function recordsOf(batch: Buffer, first: bigint): FetchedBatch['records'] {
  const number = batch.readInt16BE(21) & COMPRESSION
  const codec = codecNumbered(number)
  if (number !== 0 && !codec)
    throw new KafkaError('UNREADABLE', `records in compression ${number}, which this version does not know`)
  const packed = batch.subarray(HEADER_BYTES)
  const reader = new RecordReader(codec ? unpacked(codec, packed) : packed)
  const base = batch.readBigInt64BE(27)
  return Array.from({ length: batch.readInt32BE(57) }, () => reader.record(first, base))
}

function unpacked(codec: Codec, bytes: Buffer): Buffer {
  try {
    return codec.decompress(bytes)
  } catch (error) {
    throw new KafkaError('UNREADABLE', `compressed records that cannot be unpacked: ${(error as Error).message}`, error)
  }
}

class RecordReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  record(first: bigint, base: bigint): FetchedBatch['records'][number] {
    const size = this.#varint()
    const end = this.#at + size
    // One byte of attributes, all of them unused.
    this.#at++
    const timestamp = base + BigInt(this.#varint())
    const offset = first + BigInt(this.#varint())
    const key = this.#field()
    const value = this.#field()
    const count = this.#varint()
    const headers: [Buffer, Buffer][] = []
    for (let i = 0; i < count; i++) headers.push([this.#field() ?? NOTHING, this.#field() ?? NOTHING])
    if (this.#at !== end || end > this.#bytes.length)
      throw new KafkaError('UNREADABLE', `the record at offset ${offset} is not ${size} bytes long, as it says`)
    return { key, value, headers, timestamp, offset }
  }

  #field(): Buffer | null {
    const size = this.#varint()
    if (size < 0) return null
    const start = this.#at
    this.#at += size
    return this.#bytes.subarray(start, this.#at)
  }

  /** Zigzag, up to 2^53 of either sign. */
  #varint(): number {
    const bytes = this.#bytes
    let byte = bytes[this.#at++] as number
    if (byte < 128) return (byte >>> 1) ^ -(byte & 1)
    let value = byte & 127
    let scale = 128
    do {
      byte = bytes[this.#at++] as number
      if (byte === undefined || scale > 2 ** 63) throw new KafkaError('UNREADABLE', 'a record ends in a number')
      value += (byte & 127) * scale
      scale *= 128
    } while (byte >= 128)
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}
