import { type Header, type Message, type Received, type SchemaRef, type Topic, WeftError } from '../transport.ts'

/**
 * Records are stored in batches, one entry of the store each. Little-endian:
 *
 *   batch:  u8 layout (0 dense, 1 sparse), 3 unused, u32 count, u32 span, f64 appendedAt, records
 *   record: [u32 offset delta, if sparse], u32 size of what follows, f64 time, i32 key length (-1 none),
 *           i32 value length (-1 tombstone), u32 schema id (0 none), u16 header count,
 *           key, value, headers (u16 name length, u32 value length, name, value)
 *
 * `span` is how many offsets the batch covers; compaction leaves holes in it, and then it is sparse.
 */
export const BATCH_HEADER = 20
const RECORD_HEADER = 26
/** What fits eight pages of the store with their header. */
export const BATCH_BYTES = 8 * 4096 - 16
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024

/** Dense records in the layout above, room for the batch's header in front of them. */
export interface Chunk {
  readonly bytes: Buffer
  readonly count: number
  /** Where ids of schemas are missing that the store does not know yet. */
  readonly missing: { readonly at: number; readonly ref: SchemaRef }[]
}

const names = new Map<string, Buffer>()
function nameBytes(name: string): Buffer {
  let found = names.get(name)
  if (!found) {
    found = Buffer.from(name)
    if (names.size < 1000) names.set(name, found)
  }
  return found
}

function sizeOf(message: Message): number {
  let size = RECORD_HEADER + (message.key?.length ?? 0) + (message.value?.length ?? 0)
  if (message.headers) for (const [name, value] of message.headers) size += 6 + nameBytes(name).length + value.length
  return size
}

/** Throws unless the message can be stored: INVALID for a field of the wrong type, TOO_LARGE above the limit. */
export function check(message: Message, maxBytes = MAX_MESSAGE_BYTES): void {
  const { key, value, time, headers } = message
  if (key !== undefined && !(key instanceof Uint8Array)) throw invalid('key', 'a Uint8Array or undefined', key)
  if (value !== null && !(value instanceof Uint8Array)) throw invalid('value', 'a Uint8Array or null', value)
  if (!Number.isFinite(time)) throw invalid('time', 'milliseconds since the epoch', time)
  let size = (key?.length ?? 0) + (value?.length ?? 0)
  if (headers) {
    if (headers.length > 65_535)
      throw new WeftError('INVALID', `a message has ${headers.length} headers: at most 65535`)
    for (const [name, content] of headers) {
      if (typeof name !== 'string' || nameBytes(name).length > 65_535)
        throw invalid('header name', 'up to 64 KiB of text', name)
      if (!(content instanceof Uint8Array)) throw invalid(`header "${name}"`, 'a Uint8Array', content)
      size += nameBytes(name).length + content.length
    }
  }
  if (size > maxBytes)
    throw new WeftError('TOO_LARGE', `a message of ${size} bytes: key, value and headers may have ${maxBytes}`)
}

const invalid = (field: string, expected: string, got: unknown) =>
  new WeftError('INVALID', `a message's ${field} must be ${expected}, not ${got === null ? 'null' : typeof got}`)

/** Encodes messages of one partition, in order. `schemaId` answers undefined for a schema that has no id yet. */
export function encode(messages: readonly Message[], schemaId: (ref: SchemaRef) => number | undefined): Chunk[] {
  const chunks: Chunk[] = []
  for (let from = 0; from < messages.length; ) {
    let to = from
    let size = BATCH_HEADER
    do size += sizeOf(messages[to++] as Message)
    while (to < messages.length && size + sizeOf(messages[to] as Message) <= BATCH_BYTES)
    const bytes = Buffer.allocUnsafeSlow(size)
    const view = new DataView(bytes.buffer, bytes.byteOffset, size)
    const missing: { at: number; ref: SchemaRef }[] = []
    let at = BATCH_HEADER
    for (let i = from; i < to; i++) {
      const message = messages[i] as Message
      const id = message.schema ? schemaId(message.schema) : 0
      if (message.schema && id === undefined) missing.push({ at: at + 20, ref: message.schema })
      at = write(bytes, view, at, message, id ?? 0)
    }
    chunks.push({ bytes, count: to - from, missing })
    from = to
  }
  return chunks
}

function write(bytes: Buffer, view: DataView, start: number, message: Message, schemaId: number): number {
  const { key, value, headers } = message
  view.setFloat64(start + 4, message.time, true)
  view.setInt32(start + 12, key === undefined ? -1 : key.length, true)
  view.setInt32(start + 16, value === null ? -1 : value.length, true)
  view.setUint32(start + 20, schemaId, true)
  view.setUint16(start + 24, headers?.length ?? 0, true)
  let at = start + RECORD_HEADER
  if (key) {
    bytes.set(key, at)
    at += key.length
  }
  if (value) {
    bytes.set(value, at)
    at += value.length
  }
  if (headers)
    for (const [name, content] of headers) {
      const encoded = nameBytes(name)
      view.setUint16(at, encoded.length, true)
      view.setUint32(at + 2, content.length, true)
      bytes.set(encoded, at + 6)
      bytes.set(content, at + 6 + encoded.length)
      at += 6 + encoded.length + content.length
    }
  view.setUint32(start, at - start - 4, true)
  return at
}

export function writeHeader(bytes: Buffer, count: number, span: number, appendedAt: number, sparse = false): void {
  bytes.writeUInt32LE(sparse ? 1 : 0, 0)
  bytes.writeUInt32LE(count, 4)
  bytes.writeUInt32LE(span, 8)
  bytes.writeDoubleLE(appendedAt, 12)
}

export interface BatchHeader {
  readonly sparse: boolean
  readonly count: number
  /** Offsets covered, with holes. */
  readonly span: number
  readonly appendedAt: number
}

export function readHeader(bytes: Buffer): BatchHeader {
  return {
    sparse: bytes[0] === 1,
    count: bytes.readUInt32LE(4),
    span: bytes.readUInt32LE(8),
    appendedAt: bytes.readDoubleLE(12),
  }
}

/** Where the records lie: `start` and `end` without the delta, in order. */
export function* spans(bytes: Buffer, base: number): Generator<{ offset: number; start: number; end: number }> {
  const { sparse, count } = readHeader(bytes)
  let at = BATCH_HEADER
  for (let i = 0; i < count; i++) {
    let offset = base + i
    if (sparse) {
      offset = base + bytes.readUInt32LE(at)
      at += 4
    }
    const end = at + 4 + bytes.readUInt32LE(at)
    yield { offset, start: at, end }
    at = end
  }
}

/** Key and whether it is a tombstone, without decoding the rest. */
export function keyOf(bytes: Buffer, start: number): { key: Uint8Array | undefined; tombstone: boolean } {
  const length = bytes.readInt32LE(start + 12)
  return {
    key: length < 0 ? undefined : bytes.subarray(start + RECORD_HEADER, start + RECORD_HEADER + length),
    tombstone: bytes.readInt32LE(start + 16) < 0,
  }
}

const decoder = new TextDecoder()
const latin = (bytes: Buffer, from: number, to: number): string => {
  for (let i = from; i < to; i++) if ((bytes[i] as number) > 127) return decoder.decode(bytes.subarray(from, to))
  return bytes.toString('latin1', from, to)
}

/**
 * The messages of a batch at or after `from`. They share the batch's memory.
 * `bytes` must be its own copy, not the store's memory.
 */
export function decode(
  bytes: Buffer,
  base: number,
  from: number,
  topic: Topic,
  partition: number,
  schema: (id: number) => SchemaRef,
): Received[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const sparse = bytes[0] === 1
  const count = view.getUint32(4, true)
  const appendedAt = view.getFloat64(12, true)
  const messages: Received[] = []
  let at = BATCH_HEADER
  for (let i = 0; i < count; i++) {
    let offset = base + i
    if (sparse) {
      offset = base + view.getUint32(at, true)
      at += 4
    }
    const end = at + 4 + view.getUint32(at, true)
    if (offset >= from) messages.push(record(bytes, view, at, offset, appendedAt, topic, partition, schema))
    at = end
  }
  return messages
}

function record(
  bytes: Buffer,
  view: DataView,
  start: number,
  offset: number,
  appendedAt: number,
  topic: Topic,
  partition: number,
  schema: (id: number) => SchemaRef,
): Received {
  const keyLength = view.getInt32(start + 12, true)
  const valueLength = view.getInt32(start + 16, true)
  const schemaId = view.getUint32(start + 20, true)
  const headerCount = view.getUint16(start + 24, true)
  let at = start + RECORD_HEADER
  let key: Uint8Array | undefined
  if (keyLength >= 0) {
    key = new Uint8Array(bytes.buffer, bytes.byteOffset + at, keyLength)
    at += keyLength
  }
  let value: Uint8Array | null = null
  if (valueLength >= 0) {
    value = new Uint8Array(bytes.buffer, bytes.byteOffset + at, valueLength)
    at += valueLength
  }
  let headers: Header[] | undefined
  if (headerCount > 0) {
    headers = []
    for (let i = 0; i < headerCount; i++) {
      const nameEnd = at + 6 + view.getUint16(at, true)
      const end = nameEnd + view.getUint32(at + 2, true)
      const content = new Uint8Array(bytes.buffer, bytes.byteOffset + nameEnd, end - nameEnd)
      headers.push([latin(bytes, at + 6, nameEnd), content])
      at = end
    }
  }
  return {
    topic,
    position: { partition, at: String(offset) },
    key,
    value,
    time: view.getFloat64(start + 4, true),
    headers,
    schema: schemaId === 0 ? undefined : schema(schemaId),
    appendedAt,
  }
}
