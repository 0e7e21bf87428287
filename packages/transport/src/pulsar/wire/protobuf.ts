/**
 * Protocol Buffers' wire format, driven by tables: a table says what the fields of a message are called, their numbers
 * and kinds, and gives its TypeScript type, its encoder and its decoder.
 */

/** int: any varint up to 53 bits, negative ones as 64-bit two's complement (the uint64 that says "none" reads as -1). */
interface Values {
  readonly int: number
  readonly long: bigint
  readonly bool: boolean
  readonly string: string
  readonly bytes: Uint8Array
}
type Kind = keyof Values | Shape
type Field =
  | readonly [number: number, kind: Kind]
  | readonly [number: number, kind: Kind, rule: 'required' | 'repeated']

export interface Shape {
  readonly [name: string]: Field
}

type ValueOf<K> = K extends keyof Values ? Values[K] : K extends Shape ? Of<K> : never
type Required<S extends Shape> = { [N in keyof S]: S[N][2] extends 'required' ? N : never }[keyof S]
type Repeated<S extends Shape> = { [N in keyof S]: S[N][2] extends 'repeated' ? N : never }[keyof S]

/** A message of a shape. What is not set is absent; what may repeat and doesn't is absent, too. */
export type Of<S extends Shape> = { readonly [N in Required<S>]: ValueOf<S[N][1]> } & {
  readonly [N in Repeated<S>]?: readonly ValueOf<S[N][1]>[] | undefined
} & { readonly [N in Exclude<keyof S, Required<S> | Repeated<S>>]?: ValueOf<S[N][1]> | undefined }

const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/** Bytes that grow as they are written. */
export class Writer {
  buffer: Buffer
  length = 0

  constructor(capacity = 256) {
    this.buffer = Buffer.allocUnsafe(capacity)
  }

  /** Makes room for `bytes` more. */
  reserve(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.length + bytes))
    this.buffer.copy(grown, 0, 0, this.length)
    this.buffer = grown
  }

  varint(value: number): void {
    this.reserve(10)
    if (value < 0) {
      this.#bits(BigInt.asUintN(64, BigInt(value)))
      return
    }
    while (value > 0x7f) {
      this.buffer[this.length++] = (value % 0x80) | 0x80
      value = Math.floor(value / 0x80)
    }
    this.buffer[this.length++] = value
  }

  long(value: bigint): void {
    this.reserve(10)
    this.#bits(BigInt.asUintN(64, value))
  }

  #bits(value: bigint): void {
    while (value > 0x7fn) {
      this.buffer[this.length++] = Number(value & 0x7fn) | 0x80
      value >>= 7n
    }
    this.buffer[this.length++] = Number(value)
  }

  tag(number: number, type: number): void {
    this.varint(number * 8 + type)
  }

  bytes(value: Uint8Array): void {
    this.varint(value.length)
    this.raw(value)
  }

  raw(value: Uint8Array): void {
    this.reserve(value.length)
    this.buffer.set(value, this.length)
    this.length += value.length
  }

  string(value: string): void {
    const length = Buffer.byteLength(value)
    this.varint(length)
    this.reserve(length)
    this.length += this.buffer.write(value, this.length)
  }

  uint32(value: number): void {
    this.reserve(4)
    this.length = this.buffer.writeUInt32BE(value, this.length)
  }

  /** Writes what is prefixed by its own length, which is known only afterwards. */
  prefixed(write: () => void): void {
    this.reserve(1)
    const at = this.length++
    write()
    const length = this.length - at - 1
    if (length < 0x80) {
      this.buffer[at] = length
      return
    }
    const prefix = varintLength(length)
    this.reserve(prefix - 1)
    this.buffer.copyWithin(at + prefix, at + 1, this.length)
    const end = this.length + prefix - 1
    this.length = at
    this.varint(length)
    this.length = end
  }

  /** What was written, without a copy: valid until more is written. */
  done(): Buffer {
    return this.buffer.subarray(0, this.length)
  }
}

function varintLength(value: number): number {
  let length = 1
  while (value > 0x7f) {
    value = Math.floor(value / 0x80)
    length++
  }
  return length
}

export class Malformed extends Error {
  override readonly name = 'Malformed'
}

/** A stretch of bytes with a place in it. Reading past its end throws Malformed. */
export class Reader {
  readonly buffer: Buffer
  at: number
  readonly end: number

  constructor(buffer: Buffer, at = 0, end = buffer.length) {
    if (end > buffer.length || at > end) throw new Malformed(`${buffer.length} bytes where ${end} were announced`)
    this.buffer = buffer
    this.at = at
    this.end = end
  }

  #byte(): number {
    if (this.at >= this.end) throw new Malformed(`ends in the middle of a field, at byte ${this.at}`)
    return this.buffer[this.at++] as number
  }

  varint(): number {
    let value = this.#byte()
    if (value < 0x80) return value
    value &= 0x7f
    for (let shift = 2 ** 7; shift <= 2 ** 42; shift *= 2 ** 7) {
      const byte = this.#byte()
      value += (byte & 0x7f) * shift
      if (byte < 0x80) return value
    }
    let wide = BigInt(value)
    for (let shift = 49n; shift < 70n; shift += 7n) {
      const byte = this.#byte()
      wide |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return Number(BigInt.asIntN(64, wide))
    }
    throw new Malformed(`no end of a number at byte ${this.at}`)
  }

  long(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asIntN(64, value)
    }
    throw new Malformed(`no end of a number at byte ${this.at}`)
  }

  /** A view, not a copy. */
  bytes(): Buffer {
    const length = this.varint()
    const end = this.at + length
    if (length < 0 || end > this.end)
      throw new Malformed(`${length} bytes announced at byte ${this.at}, ${this.end} is the end`)
    const bytes = this.buffer.subarray(this.at, end)
    this.at = end
    return bytes
  }

  string(): string {
    const { length } = this.bytes()
    return this.buffer.toString('utf8', this.at - length, this.at)
  }

  skip(type: number): void {
    if (type === VARINT) this.long()
    else if (type === BYTES) this.bytes()
    else if (type === FIXED64 || type === FIXED32) {
      this.at += type === FIXED64 ? 8 : 4
      if (this.at > this.end) throw new Malformed(`ends in the middle of a field, at byte ${this.end}`)
    } else throw new Malformed(`wire type ${type} at byte ${this.at}`)
  }
}

/** Writes a message's fields, without the length that stands before a nested one. */
export function encode<S extends Shape>(writer: Writer, shape: S, message: Of<S>): void {
  for (const name in message) {
    const value = (message as Record<string, unknown>)[name]
    const field = shape[name]
    if (value === undefined || !field) continue
    const [number, kind, rule] = field
    if (rule === 'repeated') for (const one of value as readonly unknown[]) encodeField(writer, number, kind, one)
    else encodeField(writer, number, kind, value)
  }
}

function encodeField(writer: Writer, number: number, kind: Kind, value: unknown): void {
  if (kind === 'int' || kind === 'bool' || kind === 'long') {
    writer.tag(number, VARINT)
    if (kind === 'long') writer.long(value as bigint)
    else writer.varint(Number(value))
    return
  }
  writer.tag(number, BYTES)
  if (kind === 'string') writer.string(value as string)
  else if (kind === 'bytes') writer.bytes(value as Uint8Array)
  else writer.prefixed(() => encode(writer, kind, value as Of<Shape>))
}

const tables = new WeakMap<Shape, readonly ({ name: string; kind: Kind; repeated: boolean } | undefined)[]>()

function tableOf(shape: Shape) {
  const known = tables.get(shape)
  if (known) return known
  const table: { name: string; kind: Kind; repeated: boolean }[] = []
  for (const [name, [number, kind, rule]] of Object.entries(shape))
    table[number] = { name, kind, repeated: rule === 'repeated' }
  tables.set(shape, table)
  return table
}

/** Reads up to the reader's end. Unknown fields are left out; a required one that is missing throws Malformed. */
export function decode<S extends Shape>(reader: Reader, shape: S): Of<S> {
  const table = tableOf(shape)
  const message: Record<string, unknown> = {}
  while (reader.at < reader.end) {
    const tag = reader.varint()
    const type = tag % 8
    const field = table[Math.floor(tag / 8)]
    if (
      !field ||
      type !== (typeof field.kind === 'string' && field.kind !== 'string' && field.kind !== 'bytes' ? VARINT : BYTES)
    ) {
      // A packed list of numbers is the one other way to write a known field.
      if (field?.repeated && type === BYTES && (field.kind === 'int' || field.kind === 'long')) {
        const packed = reader.bytes()
        const inside = new Reader(packed)
        while (inside.at < inside.end) push(message, field.name, decodeField(inside, field.kind))
      } else reader.skip(type)
      continue
    }
    const value = decodeField(reader, field.kind)
    if (field.repeated) push(message, field.name, value)
    else message[field.name] = value
  }
  for (const name in shape)
    if (shape[name]?.[2] === 'required' && message[name] === undefined) throw new Malformed(`"${name}" is missing`)
  return message as Of<S>
}

function push(message: Record<string, unknown>, name: string, value: unknown): void {
  const list = message[name] as unknown[] | undefined
  if (list) list.push(value)
  else message[name] = [value]
}

function decodeField(reader: Reader, kind: Kind): unknown {
  if (kind === 'int') return reader.varint()
  if (kind === 'bool') return reader.varint() !== 0
  if (kind === 'long') return reader.long()
  if (kind === 'string') return reader.string()
  if (kind === 'bytes') return reader.bytes()
  const length = reader.varint()
  const end = reader.at + length
  if (length < 0 || end > reader.end)
    throw new Malformed(`${length} bytes announced at byte ${reader.at}, ${reader.end} is the end`)
  const inside = new Reader(reader.buffer, reader.at, end)
  reader.at = end
  return decode(inside, kind)
}
