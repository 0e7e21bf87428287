import path from 'node:path'
import type { AvroField, AvroNode, AvroSchema } from './avro-schema.ts'
import type { Catalogue, TopicDefinition } from './catalogue.ts'

/** The text of docs/topics.md: one table of all topics, then the fields of each. */
export function generateTopicsPage({ topics }: Catalogue): string {
  const all = [...topics.values()]
  return `${[
    '# Topics',
    'Generated from [schemas/catalogue.yaml](../schemas/catalogue.yaml) and the Avro schemas beside it by\n' +
      '`pnpm --filter @weft/schema generate`; change those. The key is a template: fields in braces, `{a|b}` the first of\n' +
      'them that is not null. A compacted topic keeps the last record of each key. Compatibility is what `weft schemas check`\n' +
      'holds a new version of the schema to.',
    'To change a schema: edit its .avsc file, run the command above, then `weft schemas check`, which names what would break\n' +
      'whom. `weft schemas release` writes it down as the next version, with an id that stays; records of all released\n' +
      'versions are read as of the current schema from then on. `weft schemas push` registers what was released with a schema\n' +
      'registry, for logs on Kafka ([kafka.md](kafka.md)); `weft topics diff` shows in what a log is not as the catalogue says.',
    table(
      ['Topic', 'Purpose', 'Key', 'Partitions', 'Kept', 'Compatibility', 'Owner', 'Producers', 'Consumers'],
      all.map(topic => [
        `[${topic.name}](#${topic.name.replaceAll('.', '')})`,
        topic.purpose,
        `\`${topic.key}\``,
        String(topic.partitions),
        kept(topic),
        topic.compatibility,
        topic.owner,
        topic.producers.join(', '),
        topic.consumers.join(', '),
      ]),
    ),
    ...all.flatMap(topic => [
      `## ${topic.name}`,
      `${topic.avro.doc ?? topic.purpose} Schema [${topic.avro.name}](../schemas/${path.basename(topic.file)}).`,
      table(
        ['Field', 'Type', 'Default', 'Meaning'],
        topic.avro.fields.map(field => [field.name, typeName(field.type), defaultOf(field), field.doc ?? '']),
      ),
    ]),
  ].join('\n\n')}\n`
}

const defaultOf = (field: AvroField): string =>
  field.default === undefined ? '' : `\`${JSON.stringify(field.default)}\``

function kept({ cleanup, retentionMs = 0, retentionBytes }: TopicDefinition): string {
  if (cleanup === 'compact') return 'last of each key'
  const bytes = retentionBytes === undefined ? '' : `, at most ${retentionBytes / 2 ** 20} MiB a partition`
  return `${retentionMs % 86_400_000 === 0 ? `${retentionMs / 86_400_000} d` : `${retentionMs / 3_600_000} h`}${bytes}`
}

function typeName(schema: AvroSchema): string {
  if (typeof schema === 'string') return schema
  if (Array.isArray(schema)) return schema.map(typeName).join(' or ')
  const node = schema as AvroNode
  if (node.logicalType) return node.logicalType
  if (node.symbols) return node.symbols.join(', ')
  if (node.items) return `array of ${typeName(node.items)}`
  if (node.values) return `map of ${typeName(node.values)}`
  return node.fields ? `record of ${node.fields.map(({ name }) => name).join(', ')}` : node.type
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
