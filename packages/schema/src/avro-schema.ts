import { compile } from './avro.ts'
import { type Fault, pointer, suggestion } from './fault.ts'

/** An Avro schema as it stands in a file. */
export type AvroSchema = string | readonly AvroSchema[] | AvroNode

export interface AvroNode {
  readonly type: string
  readonly name?: string
  readonly namespace?: string
  readonly doc?: string
  readonly aliases?: readonly string[]
  readonly logicalType?: string
  readonly fields?: readonly AvroField[]
  readonly symbols?: readonly string[]
  readonly default?: string
  readonly items?: AvroSchema
  readonly values?: AvroSchema
  readonly size?: number
}

export interface AvroField {
  readonly name: string
  readonly type: AvroSchema
  readonly doc?: string
  readonly default?: unknown
  readonly aliases?: readonly string[]
  readonly order?: string
}

export interface AvroRecord extends AvroNode {
  readonly type: 'record'
  readonly name: string
  readonly fields: readonly AvroField[]
}

const NODE_ATTRIBUTES = [
  'type',
  'name',
  'namespace',
  'doc',
  'aliases',
  'logicalType',
  'fields',
  'symbols',
  'default',
  'items',
  'values',
  'size',
]
const FIELD_ATTRIBUTES = ['name', 'type', 'doc', 'default', 'aliases', 'order']
const LOGICAL_TYPES: Readonly<Record<string, string>> = {
  'timestamp-millis': 'long',
  'timestamp-micros': 'long',
  'time-millis': 'int',
  'time-micros': 'long',
  date: 'int',
  uuid: 'string',
}

/** Reads an .avsc file's text: the record, or every fault, with paths below `at`. */
export function parseAvro(
  text: string,
  at = '',
): { readonly schema: AvroRecord } | { readonly faults: readonly Fault[] } {
  let schema: unknown
  try {
    schema = JSON.parse(text)
  } catch (error) {
    return {
      faults: [{ path: at, problem: `is not JSON (${(error as Error).message})`, expected: 'an Avro schema in JSON' }],
    }
  }
  const faults: Fault[] = []
  if (!isObject(schema) || schema.type !== 'record') {
    faults.push({ path: at, problem: 'is not a record', expected: 'an Avro schema of type "record"' })
    return { faults }
  }
  lint(schema, at, faults)
  if (faults.length > 0) return { faults }
  try {
    compile(schema)
  } catch (error) {
    return {
      faults: [{ path: at, problem: `is not valid Avro: ${(error as Error).message}`, expected: 'a valid schema' }],
    }
  }
  return { schema: schema as unknown as AvroRecord }
}

/** What Avro lets pass and then ignores: attributes in the wrong place, mistyped ones, fields that nobody explained. */
function lint(schema: unknown, path: string, faults: Fault[]): void {
  if (Array.isArray(schema)) {
    for (const [index, branch] of schema.entries()) lint(branch, path + pointer(index), faults)
    return
  }
  if (!isObject(schema)) return
  unknownAttributes(schema, NODE_ATTRIBUTES, path, faults)
  const base = typeof schema.logicalType === 'string' ? LOGICAL_TYPES[schema.logicalType] : undefined
  if (schema.logicalType !== undefined && base !== schema.type) {
    const expected = base ? `type "${base}"` : `one of ${Object.keys(LOGICAL_TYPES).join(', ')}`
    faults.push({
      path: `${path}/logicalType`,
      problem: `${JSON.stringify(schema.logicalType)} does not fit type ${JSON.stringify(schema.type)}`,
      expected,
    })
  }
  if (isObject(schema.type) || Array.isArray(schema.type)) lint(schema.type, `${path}/type`, faults)
  if (schema.items !== undefined) lint(schema.items, `${path}/items`, faults)
  if (schema.values !== undefined) lint(schema.values, `${path}/values`, faults)
  if (Array.isArray(schema.fields)) {
    for (const [index, field] of schema.fields.entries()) lintField(field, `${path}/fields/${index}`, faults)
  }
}

function lintField(field: unknown, position: string, faults: Fault[]): void {
  if (!isObject(field) || typeof field.name !== 'string') {
    faults.push({ path: position, problem: 'is not a field', expected: 'an object with "name" and "type"' })
    return
  }
  const path = `${position.slice(0, position.lastIndexOf('/'))}${pointer(field.name)}`
  if ('logicalType' in field) {
    const logical = JSON.stringify(field.logicalType)
    faults.push({
      path: `${path}/logicalType`,
      problem: 'stands beside the type, where Avro ignores it',
      expected: `it inside the type: "type": {"type": ${JSON.stringify(field.type)}, "logicalType": ${logical}}`,
    })
  }
  unknownAttributes(field, [...FIELD_ATTRIBUTES, 'logicalType'], path, faults)
  if (typeof field.doc !== 'string' || field.doc.trim() === '') {
    faults.push({ path: `${path}/doc`, problem: 'is missing', expected: 'a sentence that tells what the field holds' })
  }
  if (field.type === undefined) faults.push({ path: `${path}/type`, problem: 'is missing', expected: 'an Avro type' })
  else lint(field.type, `${path}/type`, faults)
}

function unknownAttributes(
  of: Readonly<Record<string, unknown>>,
  known: readonly string[],
  path: string,
  faults: Fault[],
): void {
  for (const name of Object.keys(of)) {
    if (known.includes(name)) continue
    faults.push({
      path: path + pointer(name),
      problem: `is not an attribute of Avro${suggestion(name, known)}`,
      expected: `one of ${known.join(', ')}`,
    })
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
