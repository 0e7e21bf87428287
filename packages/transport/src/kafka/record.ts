import { type SchemaIds, UNKNOWN_ID } from '../schema-ids.ts'
import {
  type Header,
  type Message,
  type Position,
  type Received,
  type SchemaRef,
  type Topic,
  WeftError,
} from '../transport.ts'
import type { FetchedBatch, KafkaRecord } from './driver.ts'
import { type FoundSchemas, framed, idIn, unframed } from './framing.ts'

/** Key, value and headers of a message together. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024

/**
 * Event time in milliseconds, as text. The record's own timestamp cannot say it: topics have to tell when the log took a
 * record (LogAppendTime), for retention and for reading from a time, and compaction then forgets the other one.
 */
const TIME = Buffer.from('weft-time')
/**
 * subject/version, as text, of a value that is not framed by the id that a registry gave. Empty: no schema, although the
 * value begins like a framed one.
 */
const SCHEMA = Buffer.from('weft-schema')
const NONE = new Uint8Array()

const encoder = new TextEncoder()

/**
 * A message as a record, and its size as the contract counts it. TOO_LARGE above `maxBytes`. Its value is framed if the id
 * of its schema is known.
 */
export function recordOf(
  message: Message,
  title: string,
  { maxBytes = MAX_MESSAGE_BYTES, ids }: { readonly maxBytes?: number; readonly ids?: SchemaIds | undefined } = {},
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
  const { schema } = message
  let { value } = message
  const id = schema && ids?.idOf(schema)
  if (id !== undefined && value) value = framed(id, value)
  else if (schema && !(ids && schema.subject === UNKNOWN_ID))
    headers.push([SCHEMA, encoder.encode(`${schema.subject}/${schema.version}`)])
  else if (ids && !schema && idIn(value) !== undefined) headers.push([SCHEMA, NONE])
  const timestamp = BigInt(Math.max(0, message.time))
  return { record: { key: message.key ?? null, value, headers, timestamp }, bytes }
}

/** `ids` and what else was found say what framed values are of; without them values are as they lie in the log. */
export function receivedOf(
  topic: Topic,
  partition: number,
  record: FetchedBatch['records'][number],
  appendedAt: number | undefined,
  ids?: SchemaIds,
  found?: FoundSchemas,
): Received {
  let time: number | undefined
  let { value } = record
  let noted: Uint8Array | undefined
  let own = record.headers.length
  // Ours are the last ones; the same names before them are the application's.
  for (; own > 0; own--) {
    const [name, content] = record.headers[own - 1] as [Uint8Array, Uint8Array]
    if (noted === undefined && time === undefined && SCHEMA.equals(name)) noted = content
    else if (time === undefined && TIME.equals(name)) time = Number(Buffer.from(content).toString('latin1'))
    else break
  }
  let schema = noted?.length ? schemaOf(noted) : undefined
  const id = ids && noted === undefined ? idIn(value) : undefined
  if (id !== undefined && value) {
    schema = found?.get(id) ?? ids?.schemaOf(id, topic.name)
    if (schema) value = unframed(value, schema)
  }
  const headers: Header[] = []
  for (let i = 0; i < own; i++) {
    const [name, content] = record.headers[i] as [Uint8Array, Uint8Array]
    headers.push([Buffer.from(name).toString(), new Uint8Array(content.buffer, content.byteOffset, content.length)])
  }
  return {
    topic,
    position: positionAt(partition, record.offset),
    ...(record.key === null ? {} : { key: record.key }),
    value,
    time: time ?? Number(record.timestamp),
    ...(headers.length > 0 ? { headers } : {}),
    ...(schema === undefined ? {} : { schema }),
    appendedAt: appendedAt ?? Number(record.timestamp),
  }
}

function schemaOf(value: Uint8Array): SchemaRef {
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
