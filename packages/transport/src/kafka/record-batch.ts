import type { Codec } from './compression.ts'
import type { KafkaRecord, Producer } from './driver.ts'

/** Version 2 of Kafka's record batch, as Produce and Fetch carry it: https://kafka.apache.org/documentation/#recordbatch. */
export interface BatchOptions {
  readonly producer: Producer
  readonly sequence: number
  readonly transactional: boolean
  readonly crc32c: (bytes: Buffer) => number
  readonly codec?: Codec | undefined
}

const HEADER_BYTES = 61
const TRANSACTIONAL = 0b1_0000

/** A batch in one buffer: each record's bytes are copied once. */
export function encodeBatch(records: readonly KafkaRecord[], options: BatchOptions): Buffer {
  const { producer, sequence, transactional, crc32c, codec } = options
  const base = records[0]?.timestamp ?? 0n
  const sizes = new Array<number>(records.length)
  let total = 0
  for (const [i, record] of records.entries()) {
    const size = sizeOf(record, i, Number(record.timestamp - base))
    sizes[i] = size
    total += varintSize(size) + size
  }
  const plain = Buffer.allocUnsafe(HEADER_BYTES + total)
  let at = HEADER_BYTES
  let latest = base
  for (const [i, record] of records.entries()) {
    at = writeVarint(plain, at, sizes[i] as number)
    at = write(plain, at, record, i, Number(record.timestamp - base))
    if (record.timestamp > latest) latest = record.timestamp
  }
  const batch = codec
    ? Buffer.concat([plain.subarray(0, HEADER_BYTES), codec.compress(plain.subarray(HEADER_BYTES))])
    : plain
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12)
  batch.writeInt8(2, 16)
  batch.writeInt16BE((transactional ? TRANSACTIONAL : 0) | (codec?.number ?? 0), 21)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(base, 27)
  batch.writeBigInt64BE(latest, 35)
  batch.writeBigInt64BE(producer.id, 43)
  batch.writeInt16BE(producer.epoch, 51)
  batch.writeInt32BE(sequence, 53)
  batch.writeInt32BE(records.length, 57)
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  return batch
}

function sizeOf({ key, value, headers }: KafkaRecord, offset: number, delay: number): number {
  let size = 1 + varintSize(delay) + varintSize(offset) + bytesSize(key) + bytesSize(value) + varintSize(headers.length)
  for (const [name, content] of headers) size += bytesSize(name) + bytesSize(content)
  return size
}

function write(to: Buffer, from: number, { key, value, headers }: KafkaRecord, offset: number, delay: number): number {
  to[from] = 0
  let at = writeVarint(to, from + 1, delay)
  at = writeVarint(to, at, offset)
  at = writeBytes(to, at, key)
  at = writeBytes(to, at, value)
  at = writeVarint(to, at, headers.length)
  for (const [name, content] of headers) at = writeBytes(to, writeBytes(to, at, name), content)
  return at
}

const bytesSize = (bytes: Uint8Array | null): number =>
  bytes === null ? varintSize(-1) : varintSize(bytes.length) + bytes.length

function writeBytes(to: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) return writeVarint(to, at, -1)
  const start = writeVarint(to, at, bytes.length)
  to.set(bytes, start)
  return start + bytes.length
}

/** Zigzag: small numbers of either sign are short. Whole numbers up to 2^52 of either sign. */
const zigzag = (value: number): number => (value >= 0 ? value * 2 : -value * 2 - 1)

function varintSize(value: number): number {
  let size = 1
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) size++
  return size
}

function writeVarint(to: Buffer, from: number, value: number): number {
  let [at, rest] = [from, zigzag(value)]
  for (; rest >= 128; rest = Math.floor(rest / 128)) to[at++] = (rest % 128) | 128
  to[at++] = rest
  return at
}
