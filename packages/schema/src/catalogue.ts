import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SchemaRef, TopicSpec } from '@weft/transport'
import type avsc from 'avsc'
import { compile } from './avro.ts'
import { type AvroRecord, parseAvro } from './avro-schema.ts'
import {
  type CatalogueFile,
  type Compatibility,
  milliseconds,
  parseCatalogue,
  type TopicEntry,
} from './catalogue-file.ts'
import { type Codec, createCodec } from './codec.ts'
import { type KeyTemplate, parseKey } from './entity.ts'
import type { Defaulted, Events } from './events.generated.ts'
import { type Fault, pointer, SchemaFaults, suggestion } from './fault.ts'
import { fingerprint, loadRegistry, type Registry, subjectOf } from './registry.ts'

/** The project's own schemas folder. */
export const defaultCatalogueDir = new URL('../../../schemas/', import.meta.url)

export interface TopicDefinition {
  readonly name: string
  readonly purpose: string
  /** The key template as text, such as `{store_id}:{user_id|session_id}`. */
  readonly key: string
  readonly partitions: number
  /** Milliseconds; undefined for a compacted topic, which keeps the last record of each key. */
  readonly retentionMs?: number
  readonly retentionBytes?: number
  readonly cleanup: 'delete' | 'compact'
  readonly compatibility: Compatibility
  readonly owner: string
  /** Services that may produce and consume, as service or service.stage. */
  readonly producers: readonly string[]
  readonly consumers: readonly string[]
  /** Groups of topics with equally many partitions that it belongs to. */
  readonly copartitioned: readonly string[]
  /** Subject and version of the current schema; the version is the last released one plus 1 when it differs from all. */
  readonly schema: SchemaRef
  readonly avro: AvroRecord
  /** Path of the .avsc file. */
  readonly file: string
}

/** A value whose fields with a default may be left out. */
export type Draft<Topic extends keyof Events> = Omit<Events[Topic], Defaulted[Topic]> &
  Partial<Pick<Events[Topic], Extract<Defaulted[Topic], keyof Events[Topic]>>>

export interface Catalogue {
  /** The folder that it was loaded from. */
  readonly dir: string
  /** In the order of the file. */
  readonly topics: ReadonlyMap<string, TopicDefinition>
  readonly registry: Registry
  /** For `admin.ensure`. */
  specs(): TopicSpec[]
  /** One codec per topic, always the same. Throws SCHEMA for a topic that the catalogue does not have. */
  codec<Topic extends keyof Events>(topic: Topic): Codec<Events[Topic], Draft<Topic>>
}

/** Reads a schemas folder. Throws one SchemaFaults that lists every fault with its path and what would be valid. */
export async function loadCatalogue(dir: string | URL = defaultCatalogueDir): Promise<Catalogue> {
  const folder = path.resolve(dir instanceof URL || dir.startsWith('file:') ? fileURLToPath(dir) : dir)
  const yaml = await readFile(path.join(folder, 'catalogue.yaml'), 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new SchemaFaults('wrong topic catalogue', [
      {
        path: path.join(folder, 'catalogue.yaml'),
        problem: `cannot be read (${cause.code})`,
        expected: 'the topic catalogue',
      },
    ])
  })
  const { file, faults: found } = parseCatalogue(yaml)
  const faults = [...found]
  const registry = await loadRegistry(folder, faults)
  const topics = file ? await define(folder, file, registry, faults) : new Map<string, TopicDefinition>()
  if (file) faults.push(...unequalPartitions(file))
  if (faults.length > 0) throw new SchemaFaults('wrong topic catalogue', faults)
  return assemble(folder, topics, registry)
}

async function define(dir: string, { topics, copartitioned = {} }: CatalogueFile, registry: Registry, faults: Fault[]) {
  const defined = new Map<string, TopicDefinition>()
  const named = new Map<string, { readonly topic: string; readonly print: string }>()
  for (const [name, entry] of Object.entries(topics)) {
    if (typeof entry !== 'object' || entry === null) continue
    const at = pointer('topics', name)
    faults.push(...retentionFaults(entry, at))
    const avro = await readSchema(dir, entry.schema, at, faults)
    if (!avro) continue
    if (typeof entry.key === 'string') faults.push(...keyFaults(entry.key, avro, at))
    for (const [type, print] of namedTypes(avro)) {
      const other = named.get(type)
      if (other && other.print !== print) {
        const problem = `defines ${type} otherwise than the schema of ${other.topic}`
        faults.push({ path: `${at}/schema`, problem, expected: 'one definition of a name, or another name' })
      }
      named.set(type, { topic: name, print })
    }
    const groups = Object.entries(copartitioned).filter(
      ([, members]) => Array.isArray(members) && members.includes(name),
    )
    const { retention, schema, ...rest } = entry
    defined.set(name, {
      ...rest,
      name,
      retentionMs: retention === undefined ? undefined : milliseconds(retention),
      copartitioned: groups.map(([group]) => group),
      schema: { subject: subjectOf(name), version: versionOf(avro, name, registry) },
      avro,
      file: path.join(dir, schema),
    })
  }
  return defined
}

function versionOf(avro: AvroRecord, topic: string, registry: Registry): number {
  const releases = registry.releases(topic)
  const print = fingerprint(avro)
  const equal = releases.findLast(release => release.fingerprint === print)
  return equal?.version ?? (releases.at(-1)?.version ?? 0) + 1
}

function retentionFaults({ cleanup, retention, retentionBytes }: TopicEntry, at: string): Fault[] {
  if (cleanup === 'compact') {
    const kept = Object.entries({ retention, retentionBytes }).filter(([, value]) => value !== undefined)
    return kept.map(([field]) => ({
      path: at + pointer(field),
      problem: 'does not apply to a compacted topic, which keeps the last record of each key',
      expected: 'no such field, or cleanup: delete',
    }))
  }
  if (cleanup !== 'delete' || retention !== undefined) return []
  return [
    { path: `${at}/retention`, problem: 'is missing', expected: 'a duration such as 7d, since cleanup is delete' },
  ]
}

async function readSchema(dir: string, file: unknown, at: string, faults: Fault[]): Promise<AvroRecord | undefined> {
  if (typeof file !== 'string' || path.basename(file) !== file) return undefined
  const text = await readFile(path.join(dir, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    faults.push({
      path: `${at}/schema`,
      problem: `${file} cannot be read (${error.code})`,
      expected: 'an .avsc file beside the catalogue',
    })
  })
  if (text === undefined) return undefined
  const parsed = parseAvro(text, pointer(file))
  if ('schema' in parsed) return parsed.schema
  faults.push(...parsed.faults)
  return undefined
}

function keyFaults(key: string, avro: AvroRecord, at: string): Fault[] {
  const path = `${at}/key`
  let template: KeyTemplate
  try {
    template = parseKey(key)
  } catch (error) {
    return [
      {
        path,
        problem: `${JSON.stringify(key)}: ${(error as Error).message}`,
        expected: "a template such as '{store_id}:{user_id}'",
      },
    ]
  }
  const fields = avro.fields.map(({ name }) => name)
  const used = template.flatMap(part => (typeof part === 'string' ? [] : part))
  if (used.length === 0)
    return [
      { path, problem: 'names no field, so all records would have one key', expected: `some of ${fields.join(', ')}` },
    ]
  return used
    .filter(field => !fields.includes(field))
    .map(field => ({
      path,
      problem: `names ${field}, which ${avro.name} does not have${suggestion(field, fields)}`,
      expected: `some of ${fields.join(', ')}`,
    }))
}

function* namedTypes(schema: unknown): Iterable<[name: string, fingerprint: string]> {
  if (Array.isArray(schema)) for (const branch of schema) yield* namedTypes(branch)
  else if (typeof schema === 'object' && schema !== null) {
    const node = schema as AvroRecord
    if (
      typeof node.name === 'string' &&
      typeof node.type === 'string' &&
      ('fields' in node || 'symbols' in node || 'size' in node)
    ) {
      yield [node.name, fingerprint(node)]
    }
    for (const inside of [node.type, node.items, node.values]) yield* namedTypes(inside)
    for (const field of node.fields ?? []) yield* namedTypes(field.type)
  }
}

function unequalPartitions({ topics, copartitioned }: CatalogueFile): Fault[] {
  if (typeof copartitioned !== 'object' || copartitioned === null) return []
  return Object.entries(copartitioned).flatMap(([group, members]) => {
    if (!Array.isArray(members)) return []
    const first = members.find(member => topics[member])
    return members.flatMap((member: string, index): Fault[] => {
      if (!topics[member]) {
        const problem = `${JSON.stringify(member)} is not a topic of the catalogue${suggestion(String(member), Object.keys(topics))}`
        return [{ path: pointer('copartitioned', group, index), problem, expected: 'a topic' }]
      }
      const [partitions, expected] = [topics[member]?.partitions, topics[first as string]?.partitions]
      if (partitions === expected) return []
      const problem = `is ${partitions}, while ${first} of the co-partitioned group ${group} has ${expected}`
      return [
        { path: pointer('topics', member, 'partitions'), problem, expected: 'equally many for all topics of a group' },
      ]
    })
  })
}

function assemble(dir: string, topics: ReadonlyMap<string, TopicDefinition>, registry: Registry): Catalogue {
  const codecs = new Map<string, unknown>()
  const build = (name: string) => {
    const topic = topics.get(name)
    if (!topic) {
      const problem = `${JSON.stringify(name)} is not a topic of the catalogue${suggestion(name, topics.keys())}`
      throw new SchemaFaults('no codec', [{ path: '', problem, expected: [...topics.keys()].join(', ') }])
    }
    const writerOf = (version: number): avsc.Type | undefined => {
      const release = registry.releases(name).find(candidate => candidate.version === version)
      return release && compile(release.schema)
    }
    return createCodec(name, compile(topic.avro), topic.schema, parseKey(topic.key), writerOf)
  }
  return {
    dir,
    topics,
    registry,
    specs: () =>
      [...topics.values()].map(({ name, partitions, retentionMs, retentionBytes, cleanup }) => ({
        topic: { name },
        partitions,
        retentionMs,
        retentionBytes,
        cleanup,
      })),
    codec: name => {
      if (!codecs.has(name)) codecs.set(name, build(name))
      return codecs.get(name) as never
    },
  }
}
