import type { AvroNode, AvroRecord, AvroSchema } from './avro-schema.ts'
import type { CatalogueFile, TopicEntry } from './catalogue-file.ts'
import { type KeyTemplate, parseKey } from './entity.ts'
import { type Fault, pointer, suggestion } from './fault.ts'
import { fingerprint } from './registry.ts'

/** What is wrong between the fields of a topic, its schema and the other topics; not what `known` names already. */
export function crossFaults(
  file: CatalogueFile,
  schemas: ReadonlyMap<string, AvroRecord>,
  known: readonly Fault[],
): Fault[] {
  const entries = Object.entries(file.topics)
  const faults = [
    ...entries.flatMap(([name, entry]) => retentionFaults(entry, pointer('topics', name))),
    ...entries.flatMap(([name, entry]) => copiesFaults(entry, pointer('topics', name))),
    ...entries.flatMap(([name, { key }]) => keyFaults(key, schemas.get(name), pointer('topics', name, 'key'))),
    ...nameFaults(schemas),
    ...groupFaults(file),
  ]
  return faults.filter(({ path }) => !known.some(fault => fault.path === path))
}

function retentionFaults({ cleanup, retention, retentionBytes }: Partial<TopicEntry>, at: string): Fault[] {
  if (cleanup === 'compact') {
    const kept = Object.entries({ retention, retentionBytes }).filter(([, value]) => value !== undefined)
    return kept.map(([field]) => ({
      path: at + pointer(field),
      problem: 'does not apply to a compacted topic, which keeps the last record of each key',
      expected: 'no such field, or cleanup: delete',
    }))
  }
  if (cleanup === undefined || retention !== undefined) return []
  const expected = 'a duration such as 7d, since cleanup is delete'
  return [{ path: `${at}/retention`, problem: 'is missing', expected }]
}

function copiesFaults({ replicas, minInSync }: Partial<TopicEntry>, at: string): Fault[] {
  if (replicas === undefined || minInSync === undefined || minInSync <= replicas) return []
  const problem = `is ${minInSync}, while there are ${replicas} replicas`
  return [{ path: `${at}/minInSync`, problem, expected: 'at most as many as replicas' }]
}

function keyFaults(key: string | undefined, avro: AvroRecord | undefined, path: string): Fault[] {
  if (key === undefined) return []
  let template: KeyTemplate
  try {
    template = parseKey(key)
  } catch (error) {
    const problem = `${JSON.stringify(key)}: ${(error as Error).message}`
    return [{ path, problem, expected: "a template such as '{store_id}:{user_id}'" }]
  }
  if (avro === undefined) return []
  const fields = avro.fields.map(({ name }) => name)
  const expected = `some of ${fields.join(', ')}`
  const used = template.flatMap(part => (typeof part === 'string' ? [] : part))
  if (used.length === 0) return [{ path, problem: 'names no field, so all records would have one key', expected }]
  return used
    .filter(field => !fields.includes(field))
    .map(field => {
      const problem = `names ${field}, which ${avro.name} does not have${suggestion(field, fields)}`
      return { path, problem, expected }
    })
}

/** One name means one type: the generated types are shared. */
function nameFaults(schemas: ReadonlyMap<string, AvroRecord>): Fault[] {
  const first = new Map<string, { readonly topic: string; readonly print: string }>()
  const faults: Fault[] = []
  for (const [topic, avro] of schemas) {
    for (const node of namedTypes(avro)) {
      const print = fingerprint(node)
      const other = first.get(node.name)
      if (other === undefined) first.set(node.name, { topic, print })
      else if (other.print !== print) {
        const problem = `defines ${node.name} otherwise than the schema of ${other.topic}`
        const path = pointer('topics', topic, 'schema')
        faults.push({ path, problem, expected: 'one definition of a name, or another name' })
      }
    }
  }
  return faults
}

function* namedTypes(schema: AvroSchema | undefined): Iterable<AvroNode & { readonly name: string }> {
  if (schema === undefined || typeof schema === 'string') return
  if (Array.isArray(schema)) {
    for (const branch of schema) yield* namedTypes(branch)
    return
  }
  const node = schema as AvroNode
  if (node.name !== undefined) yield { ...node, name: node.name }
  yield* namedTypes(node.items)
  yield* namedTypes(node.values)
  for (const field of node.fields ?? []) yield* namedTypes(field.type)
}

function groupFaults({ topics, copartitioned }: CatalogueFile): Fault[] {
  return Object.entries(copartitioned).flatMap(([group, members]) => {
    const known = members.filter(member => Object.hasOwn(topics, member))
    const [first = ''] = known
    const partitions = topics[first]?.partitions
    const unknown = members.flatMap((member, index): Fault[] => {
      if (known.includes(member)) return []
      const problem = `${JSON.stringify(member)} is not a topic of the catalogue${suggestion(member, Object.keys(topics))}`
      return [{ path: pointer('copartitioned', group, index), problem, expected: 'a topic' }]
    })
    const unequal = known.flatMap((member): Fault[] => {
      const own = topics[member]?.partitions
      if (own === undefined || partitions === undefined || own === partitions) return []
      const problem = `is ${own}, while ${first} of the co-partitioned group ${group} has ${partitions}`
      const path = pointer('topics', member, 'partitions')
      return [{ path, problem, expected: 'equally many for all topics of a group' }]
    })
    return [...unknown, ...unequal]
  })
}
