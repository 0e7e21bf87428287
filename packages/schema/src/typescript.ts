import type { AvroField, AvroSchema } from './avro-schema.ts'
import type { Catalogue } from './catalogue.ts'

/** The text of events.generated.ts: an interface per topic, the map of topics, and which fields have defaults. */
export function generateTypes(catalogue: Catalogue): string {
  const topics = [...catalogue.topics.values()]
  const declared = new Map<string, string>()
  for (const { avro } of topics) declare(avro, declared)
  const rows = topics.map(({ name, avro }) => `  '${name}': ${avro.name}`)
  const defaulted = topics.map(({ name, avro }) => union(`  '${name}':`, defaults(avro.fields)))
  return `${[
    '// Generated from schemas/ by `pnpm --filter @weft/schema generate`; do not edit.',
    ...declared.values(),
    `/** The value of each topic. */\nexport interface Events {\n${rows.join('\n')}\n}`,
    `/** The fields that may be left out when encoding, since the schema has a default for them. */\nexport interface Defaulted {\n${defaulted.join('\n')}\n}`,
  ].join('\n\n')}\n`
}

const defaults = (fields: readonly AvroField[]): string[] =>
  fields.filter(field => field.default !== undefined).map(field => `'${field.name}'`)

/** Broken as the formatter breaks it. */
function union(before: string, members: readonly string[]): string {
  const line = `${before} ${members.join(' | ') || 'never'}`
  const indent = `\n${/^ */.exec(before)?.[0]}  | `
  return line.length <= 120 ? line : `${before}${indent}${members.join(indent)}`
}

/** Declares the named types of a schema, those it uses first, and returns it as a TypeScript type. */
function declare(schema: AvroSchema, declared: Map<string, string>): string {
  if (typeof schema === 'string') return primitive(schema)
  if (Array.isArray(schema)) {
    const branches = schema.map(branch => declare(branch, declared))
    return [...branches.filter(branch => branch !== 'null'), ...branches.filter(branch => branch === 'null')].join(
      ' | ',
    )
  }
  const node = schema as Exclude<AvroSchema, string | readonly AvroSchema[]>
  if (node.type === 'array') {
    const items = declare(node.items ?? 'null', declared)
    return items.includes(' ') ? `(${items})[]` : `${items}[]`
  }
  if (node.type === 'map') return `Record<string, ${declare(node.values ?? 'null', declared)}>`
  if (node.type === 'fixed') return 'Uint8Array'
  if (node.type === 'enum') {
    const symbols = (node.symbols ?? []).map(symbol => `'${symbol}'`)
    declared.set(node.name ?? '', comment(node.doc, '') + union(`export type ${node.name} =`, symbols))
    return node.name ?? ''
  }
  if (node.type === 'record') {
    const fields = (node.fields ?? []).map(field => {
      const instant = JSON.stringify(field.type).includes('"timestamp-millis"') ? ' Milliseconds since the epoch.' : ''
      return `${comment(`${field.doc ?? ''}${instant}`, '  ')}  ${field.name}: ${declare(field.type, declared)}`
    })
    declared.set(node.name ?? '', `${comment(node.doc, '')}export interface ${node.name} {\n${fields.join('\n')}\n}`)
    return node.name ?? ''
  }
  return primitive(node.type)
}

const comment = (text: string | undefined, indent: string): string =>
  text ? `${indent}/** ${text.replaceAll('*/', '*∕')} */\n` : ''

const PRIMITIVES: Readonly<Record<string, string>> = {
  null: 'null',
  boolean: 'boolean',
  int: 'number',
  long: 'number',
  float: 'number',
  double: 'number',
  bytes: 'Uint8Array',
  string: 'string',
}

/** A primitive, or the name of a type that was declared before. */
const primitive = (name: string): string => PRIMITIVES[name] ?? name.slice(name.lastIndexOf('.') + 1)
