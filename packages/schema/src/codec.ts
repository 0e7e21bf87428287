import { bytes, type Header, type Message, type SchemaRef, UNKNOWN_ID, WeftError } from '@weft/transport'
import type avsc from 'avsc'
import { type KeyTemplate, renderKey } from './entity.ts'
import { type Fault, pointer, SchemaFaults } from './fault.ts'
import { FOREIGN } from './known-schemas.ts'

/** Encodes and decodes the values of one topic. `Draft` is a value whose fields with defaults may be left out. */
export interface Codec<Value, Draft = Value> {
  readonly topic: string
  /** What `encode` encodes with. */
  readonly schema: SchemaRef
  /** Throws SchemaFaults (SCHEMA) naming every field that does not fit. Unknown fields are left out. */
  encode(value: Draft): Uint8Array
  /**
   * The value as of the current schema, whichever version it was written with; without a reference, the current one.
   * Throws SCHEMA for a tombstone, an unknown subject or version, and bytes that are not exactly one value.
   */
  decode(message: Pick<Message, 'value' | 'schema'>): Value
  /** The record key by the catalogue's template. */
  key(value: Draft): Uint8Array
  /** The whole message; the key defaults to the catalogue's. */
  message(
    value: Draft,
    about: { readonly time: number; readonly key?: Uint8Array; readonly headers?: readonly Header[] },
  ): Message
}

/** Finds the schema that a value was written with, undefined if it is not known. */
export type WriterOf = (schema: SchemaRef) => avsc.Type | undefined

let scratch = Buffer.allocUnsafeSlow(65_536)

export function createCodec<Value extends object, Draft extends object>(
  topic: string,
  type: avsc.Type,
  schema: SchemaRef,
  keyTemplate: KeyTemplate,
  writerOf: WriterOf,
): Codec<Value, Draft> {
  const own = new Map<number, (value: Buffer) => Value>([[schema.version, value => type.fromBuffer(value)]])
  const foreign = new Map<number, (value: Buffer) => Value>()

  const readerOf = (ref: SchemaRef): ((value: Buffer) => Value) => {
    const readers = ref.subject === schema.subject ? own : foreign
    if (readers === foreign && ref.subject !== FOREIGN + schema.subject) throw stranger(ref)
    const known = readers.get(ref.version)
    if (known) return known
    const reader = resolving(ref)
    readers.set(ref.version, reader)
    return reader
  }

  const stranger = ({ subject, version }: SchemaRef): WeftError =>
    subject === UNKNOWN_ID
      ? new WeftError(
          'SCHEMA',
          `${topic}: a value was framed with id ${version}, which the schema registry does not have`,
        )
      : new WeftError('SCHEMA', `a value of ${subject} is not one of ${topic}: expected subject ${schema.subject}`)

  const resolving = (ref: SchemaRef): ((value: Buffer) => Value) => {
    let writer: avsc.Type | undefined
    try {
      writer = writerOf(ref)
      const resolver = writer && type.createResolver(writer)
      if (resolver) return value => type.fromBuffer(value, resolver)
    } catch (cause) {
      const problem = `${topic}: values of ${ref.subject} version ${ref.version} cannot be read as the current version`
      throw new WeftError('SCHEMA', `${problem} (${(cause as Error).message})`, { cause })
    }
    const problem = `${ref.subject} has no version ${ref.version} here, the current one is ${schema.version}`
    throw new WeftError('SCHEMA', `${problem}: was it written by a newer release?`)
  }

  const encode = (value: Draft): Uint8Array => {
    try {
      const end = type.encode(value, scratch)
      if (end >= 0) return Buffer.from(scratch.subarray(0, end))
      scratch = Buffer.allocUnsafeSlow(Math.max(scratch.length * 2, scratch.length - end))
    } catch (cause) {
      throw misfit(topic, type, value, cause)
    }
    return encode(value)
  }

  const key = (value: Draft): Uint8Array => bytes(renderKey(keyTemplate, value as Record<string, unknown>))

  return {
    topic,
    schema,
    encode,
    key,
    decode({ value, schema: written }) {
      const ref = written ?? schema
      if (value === null) throw new WeftError('SCHEMA', `${topic}: a tombstone has no value to decode`)
      const read = readerOf(ref)
      try {
        return read(Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength))
      } catch (cause) {
        const problem = `${topic}: the bytes are not one value of ${ref.subject} version ${ref.version}`
        throw new WeftError('SCHEMA', `${problem} (${(cause as Error).message})${hint(value, written)}`, { cause })
      }
    },
    message: (value, about) => ({
      key: about.key ?? key(value),
      value: encode(value),
      time: about.time,
      headers: about.headers,
      schema,
    }),
  }
}

/** Writing stops at the first misfit and does not know where it is; checking again tells, and finds the others. */
function misfit(topic: string, type: avsc.Type, value: unknown, cause: unknown): WeftError {
  const faults: Fault[] = []
  type.isValid(value, {
    errorHook: (path, found, expected) =>
      faults.push({ path: pointer(...path), problem: `is ${show(found)}`, expected: inWords(expected) }),
  })
  if (faults.length > 0) return new SchemaFaults(`value does not fit ${topic}`, faults)
  return new WeftError('SCHEMA', `value does not fit ${topic}: ${(cause as Error).message}`, { cause })
}

/** A log that was opened without its registry hands out values with the registry's framing. */
function hint(value: Uint8Array, written: SchemaRef | undefined): string {
  if (written !== undefined || value.length < 5 || value[0] !== 0) return ''
  const id = Buffer.from(value.buffer, value.byteOffset, value.byteLength).readUInt32BE(1)
  return `; they begin as if framed with id ${id} of a schema registry, which the log was opened without`
}

function inWords(type: avsc.Type): string {
  const schema = JSON.parse(JSON.stringify(type.schema({ noDeref: true }))) as unknown
  const name = (branch: unknown): string => {
    if (Array.isArray(branch)) return branch.map(name).join(' or ')
    if (typeof branch === 'object' && branch !== null && 'symbols' in branch) return `one of ${branch.symbols}`
    if (typeof branch === 'object' && branch !== null && 'type' in branch) return String(branch.type)
    return String(branch)
  }
  return 'symbols' in type ? `one of ${(type.symbols as string[]).join(', ')}` : name(schema)
}

/** Never the value of a text: errors end up in logs. */
function show(value: unknown): string {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value === undefined) return 'missing'
  if (typeof value === 'string') return `a string of ${value.length} characters`
  if (Array.isArray(value)) return 'an array'
  return value instanceof Uint8Array ? 'bytes' : `a ${typeof value}`.replace('a object', 'an object')
}
