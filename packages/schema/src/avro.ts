import avsc from 'avsc'

/** The part of avsc's cursor that reading and writing here needs. */
interface Tap {
  readonly buf: Buffer
  pos: number
  readLong(): number
  skipLong(): void
  readString(): string
  writeLong(value: number): void
  writeString(value: string): void
  writeBytes(value: Buffer): void
}

/** avsc's own extension points, which its typings leave out. */
interface Inner {
  _read(tap: Tap): unknown
  _write(tap: Tap, value: unknown): void
}

const inner = (type: avsc.Type): Inner => type as unknown as Inner
const buffer = (value: Uint8Array): Buffer =>
  Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)

/** How many items a block says it has; that may be a lie which would spin for hours. */
function blockSize(tap: Tap): number {
  const count = tap.readLong()
  if (count >= 0) return count
  tap.skipLong()
  return -count
}

/** Of items that take no byte, such as nulls, a few bytes can tell any number: no array holds more of them. */
const MOST_EMPTY = 65_536

interface Name {
  readonly text: string
  /** As encoded, with its length in front. */
  readonly encoded: Buffer
}

const names = new WeakMap<object, Name[]>()

function namesOf(map: object): Name[] {
  let seen = names.get(map)
  if (seen === undefined) {
    seen = []
    names.set(map, seen)
  }
  return seen
}

function readName(tap: Tap, seen: Name[], place: number): string {
  const { buf, pos } = tap
  const name = seen[place]
  if (name !== undefined) {
    const { encoded } = name
    let at = 0
    while (at < encoded.length && buf[pos + at] === encoded[at]) at++
    if (at === encoded.length) {
      tap.pos = pos + at
      return name.text
    }
  }
  const text = tap.readString()
  if (place < 64 && tap.pos <= buf.length && tap.pos - pos <= 64)
    seen[place] = { text, encoded: Buffer.from(buf.subarray(pos, tap.pos)) }
  return text
}

/**
 * The names in a topic's maps repeat in the same order, so each is compared with the one that stood in its place before:
 * decoding a text and making it a property's name is most of the cost of a map.
 */
class SafeMap extends avsc.types.MapType {
  _read(tap: Tap): Record<string, unknown> {
    const map: Record<string, unknown> = {}
    const seen = namesOf(this)
    let place = 0
    for (let left = blockSize(tap); left > 0; left = blockSize(tap)) {
      // A key takes at least a byte.
      if (left > tap.buf.length - tap.pos) throw new Error('truncated buffer')
      while (left--) {
        const key = readName(tap, seen, place++)
        const value = inner(this.valuesType)._read(tap)
        if (key === '__proto__') {
          Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true })
        } else map[key] = value
      }
    }
    return map
  }
  _skip(tap: Tap): void {
    this._read(tap)
  }
}

class SafeArray extends avsc.types.ArrayType {
  _read(tap: Tap): unknown[] {
    const items: unknown[] = []
    for (let left = blockSize(tap); left > 0; left = blockSize(tap)) {
      while (left--) {
        const { pos } = tap
        items.push(inner(this.itemsType)._read(tap))
        if (tap.pos > tap.buf.length) throw new Error('truncated buffer')
        if (tap.pos === pos && items.length > MOST_EMPTY) throw new Error('an array of too many empty items')
      }
    }
    return items
  }
  _skip(tap: Tap): void {
    this._read(tap)
  }
}

/** Lone surrogates become U+FFFD, so that what is written is UTF-8 for everybody. */
class WellFormedString extends avsc.types.StringType {
  _write(tap: Tap, value: unknown): void {
    if (typeof value !== 'string') throw new TypeError('not a string')
    tap.writeString(value.isWellFormed() ? value : value.toWellFormed())
  }
}

const LONGEST = 2 ** 52

/** avsc takes integers up to 2^53 but writes those beyond 2^52 as others, even of the other sign; here they are refused. */
class SafeLong extends avsc.types.LongType {
  _check(value: unknown, _flags: unknown, hook?: (value: unknown, type: avsc.Type) => void): boolean {
    const valid = Number.isInteger(value) && (value as number) >= -LONGEST && (value as number) < LONGEST
    if (!valid) hook?.(value, this)
    return valid
  }
  _read(tap: Tap): number {
    const value = tap.readLong()
    if (value < -LONGEST || value >= LONGEST) throw new RangeError('a long beyond 2^52')
    return value
  }
  _write(tap: Tap, value: unknown): void {
    if (!this._check(value, 0)) throw new RangeError('not a long')
    tap.writeLong(value as number)
  }
}

/** Takes any Uint8Array; reads give a Buffer of their own memory. */
class AnyBytes extends avsc.types.BytesType {
  _check(value: unknown, _flags: unknown, hook?: (value: unknown, type: avsc.Type) => void): boolean {
    const valid = value instanceof Uint8Array
    if (!valid) hook?.(value, this)
    return valid
  }
  _write(tap: Tap, value: unknown): void {
    if (!(value instanceof Uint8Array)) throw new TypeError('not bytes')
    tap.writeBytes(buffer(value))
  }
}

class Union extends avsc.types.UnwrappedUnionType {
  _getIndex(value: unknown): number | undefined {
    const known = value instanceof Uint8Array ? buffer(value) : value
    // @ts-expect-error: avsc's typings leave the inner methods out
    return super._getIndex(known)
  }
}

function typeHook(schema: unknown, options: unknown): avsc.Type | undefined {
  if (Array.isArray(schema)) return new Union(schema as avsc.schema.AvroSchema, options)
  const name = typeof schema === 'object' && schema !== null && 'type' in schema ? schema.type : schema
  if (name === 'map') return new SafeMap(schema as avsc.schema.AvroSchema, options)
  if (name === 'array') return new SafeArray(schema as avsc.schema.AvroSchema, options)
  if (name === 'string') return new WellFormedString()
  if (name === 'bytes') return new AnyBytes()
  if (name === 'long') return new SafeLong()
  return undefined
}

/**
 * Compiles an Avro schema. Unions are plain values, so branches have to differ in JavaScript; longs are numbers and
 * refused outside -2^52 to 2^52 - 1. Throws avsc's error for a schema that is not valid.
 */
export const compile = (schema: unknown): avsc.Type =>
  avsc.Type.forSchema(schema as avsc.schema.AvroSchema, { typeHook, wrapUnions: 'never', omitRecordMethods: true })
