import { type Header, type Message, type Position, type Received, type Topic, WeftError } from '../transport.ts'
import type { FetchedBatch, KafkaRecord } from './driver.ts'

/** Key, value and headers of a message together. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024

/**
 * Event time in milliseconds, as text. The record's own timestamp cannot say it: topics have to tell when the log took a
 * record (LogAppendTime), for retention and for reading from a time, and compaction then forgets the other one.
 */
const TIME = Buffer.from('weft-time')
/** subject/version, as text. */
const SCHEMA = Buffer.from('weft-schema')

const encoder = new TextEncoder()

/** A message as a record, and its size as the contract counts it. TOO_LARGE above `maxBytes`. */
export function recordOf(
  message: Message,
  title: string,
  maxBytes = MAX_MESSAGE_BYTES,
): { record: KafkaRecord; bytes: number } {
  const headers: [Uint8Array, Uint8Array][] = []
  let bytes = (message.key?.length ?? 0) + (message.value?.length ?? 0)
  for (const [name, value] of message.headers ?? []) {
    const encoded = encoder.encode(name)
    headers.push([encoded, value])
    bytes += encoded.length + value.length
  }
  if (bytes > maxBytes)
    throw new WeftError('TOO_LARGE', `a message for "${title}" has ${bytes} bytes: at most ${maxBytes} are possible`)
  if (!Number.isSafeInteger(message.time))
    throw new WeftError('INVALID', `a message's time is a whole number of milliseconds, not ${message.time}`)
  headers.push([TIME, encoder.encode(String(message.time))])
  if (message.schema) headers.push([SCHEMA, encoder.encode(`${message.schema.subject}/${message.schema.version}`)])
  const timestamp = BigInt(Math.max(0, message.time))
  return { record: { key: message.key ?? null, value: message.value, headers, timestamp }, bytes }
}

export function receivedOf(
  topic: Topic,
  partition: number,
  record: FetchedBatch['records'][number],
  appendedAt: number | undefined,
): Received {
  let time: number | undefined
  let schema: Received['schema']
  let own = record.headers.length
  // Ours are the last ones; the same names before them are the application's.
  for (; own > 0; own--) {
    const [name, value] = record.headers[own - 1] as [Uint8Array, Uint8Array]
    if (schema === undefined && time === undefined && SCHEMA.equals(name)) schema = schemaOf(value)
    else if (time === undefined && TIME.equals(name)) time = Number(Buffer.from(value).toString('latin1'))
    else break
  }
  const headers: Header[] = []
  for (let i = 0; i < own; i++) {
    const [name, value] = record.headers[i] as [Uint8Array, Uint8Array]
    headers.push([Buffer.from(name).toString(), new Uint8Array(value.buffer, value.byteOffset, value.length)])
  }
  return {
    topic,
    position: positionAt(partition, record.offset),
    ...(record.key === null ? {} : { key: record.key }),
    value: record.value,
    time: time ?? Number(record.timestamp),
    ...(headers.length > 0 ? { headers } : {}),
    ...(schema === undefined ? {} : { schema }),
    appendedAt: appendedAt ?? Number(record.timestamp),
  }
}

function schemaOf(value: Uint8Array): Received['schema'] {
  const text = Buffer.from(value).toString()
  const slash = text.lastIndexOf('/')
  return { subject: text.slice(0, slash), version: Number(text.slice(slash + 1)) }
}

export const positionAt = (partition: number, offset: bigint): Position => ({ partition, at: String(offset) })

/** INVALID unless it is a position of this transport. */
export function offsetAt({ at }: Position): bigint {
  if (!/^(-1|\d{1,19})$/.test(at))
    throw new WeftError('INVALID', `"${at}" is not a position of Kafka: expected an offset as text`)
  return BigInt(at)
}
