import fc from 'fast-check'
import type { AvroField, AvroSchema } from '../src/index.ts'

/** Any value of an Avro schema; where others read them, instants that they have. */
export function anyOf(
  schema: AvroSchema,
  how: { readonly instants?: fc.Arbitrary<number> } = {},
): fc.Arbitrary<unknown> {
  if (typeof schema === 'string') return primitive(schema)
  if (Array.isArray(schema)) return fc.oneof(...schema.map(branch => anyOf(branch, how)))
  const node = schema as Exclude<AvroSchema, string | readonly AvroSchema[]>
  if (how.instants && node.logicalType === 'timestamp-millis') return how.instants
  if (node.symbols) return fc.constantFrom(...node.symbols)
  if (node.items) return fc.array(anyOf(node.items, how), { maxLength: 4 })
  if (node.values) return fc.dictionary(text, anyOf(node.values, how), { maxKeys: 5 })
  if (node.size !== undefined) return fc.uint8Array({ minLength: node.size, maxLength: node.size })
  if (node.fields)
    return fc.record(Object.fromEntries(node.fields.map((field: AvroField) => [field.name, anyOf(field.type, how)])))
  return primitive(node.type)
}

/** UTF-8 has no lone surrogates. */
const text = fc.string({ unit: 'binary', maxLength: 80 })

function primitive(name: string): fc.Arbitrary<unknown> {
  switch (name) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'int':
      return fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
    case 'long':
      return fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 })
    case 'float':
      return fc.float()
    case 'double':
      return fc.double()
    case 'bytes':
      return fc.uint8Array({ maxLength: 300 })
    case 'string':
      return text
    default:
      throw new TypeError(`no values of ${name}`)
  }
}
