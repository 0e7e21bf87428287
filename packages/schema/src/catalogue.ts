import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SchemaRef, TopicSpec } from '@weft/transport'
import { compile } from './avro.ts'
import { type AvroRecord, parseAvro } from './avro-schema.ts'
import { crossFaults } from './catalogue-faults.ts'
import { amount, type CatalogueFile, type Compatibility, parseCatalogue, type TopicEntry } from './catalogue-file.ts'
import { type Codec, createCodec } from './codec.ts'
import { parseKey } from './entity.ts'
import type { Defaulted, Events } from './events.generated.ts'
import { type Fault, pointer, SchemaFaults, suggestion } from './fault.ts'
import { KnownSchemas } from './known-schemas.ts'
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
  /** Of each partition. */
  readonly retentionBytes?: number
  readonly cleanup: 'delete' | 'compact'
  /** Copies of each partition, and how many of them have to hold what is durable; the cluster's own defaults if absent. */
  readonly replicas?: number
  readonly minInSync?: number
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
  readonly known: KnownSchemas
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
  const schemas = file ? await readSchemas(folder, file, faults) : new Map<string, AvroRecord>()
  if (file) faults.push(...crossFaults(file, schemas, faults))
  if (!file || faults.length > 0) throw new SchemaFaults('wrong topic catalogue', faults)
  const topics = [...schemas].map(([name, avro]) => define(folder, name, avro, file, registry))
  return assemble(folder, new Map(topics.map(topic => [topic.name, topic])), registry)
}

/** The schemas that could be read, by topic, in the order of the catalogue. */
async function readSchemas(dir: string, { topics }: CatalogueFile, faults: Fault[]): Promise<Map<string, AvroRecord>> {
  const schemas = new Map<string, AvroRecord>()
  for (const [name, { schema: file }] of Object.entries(topics)) {
    if (file === undefined) continue
    const text = await readFile(path.join(dir, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
      const problem = `${file} cannot be read (${error.code})`
      faults.push({ path: pointer('topics', name, 'schema'), problem, expected: 'an .avsc file beside the catalogue' })
    })
    if (text === undefined) continue
    const parsed = parseAvro(text, pointer(file))
    if ('schema' in parsed) schemas.set(name, parsed.schema)
    else faults.push(...parsed.faults)
  }
  return schemas
}

function define(
  dir: string,
  name: string,
  avro: AvroRecord,
  { topics, copartitioned }: CatalogueFile,
  registry: Registry,
): TopicDefinition {
  const { retention, retentionBytes, schema, ...entry } = topics[name] as TopicEntry
  const groups = Object.entries(copartitioned).filter(([, members]) => members.includes(name))
  return {
    ...entry,
    name,
    retentionMs: retention === undefined ? undefined : amount(retention),
    retentionBytes: retentionBytes === undefined ? undefined : amount(retentionBytes),
    copartitioned: groups.map(([group]) => group),
    schema: { subject: subjectOf(name), version: versionOf(avro, name, registry) },
    avro,
    file: path.join(dir, schema),
  }
}

function versionOf(avro: AvroRecord, topic: string, registry: Registry): number {
  const releases = registry.releases(topic)
  const print = fingerprint(avro)
  const equal = releases.findLast(release => release.fingerprint === print)
  return equal?.version ?? (releases.at(-1)?.version ?? 0) + 1
}

function assemble(dir: string, topics: ReadonlyMap<string, TopicDefinition>, registry: Registry): Catalogue {
  const known = new KnownSchemas(topics.values(), registry)
  const codecs = new Map<string, unknown>()
  const build = (name: string) => {
    const topic = topics.get(name)
    if (!topic) {
      const problem = `${JSON.stringify(name)} is not a topic of the catalogue${suggestion(name, topics.keys())}`
      throw new SchemaFaults('no codec', [{ path: '', problem, expected: [...topics.keys()].join(', ') }])
    }
    const writerOf = (ref: SchemaRef) => {
      const written = known.schemaOf(ref)
      return written && compile(written)
    }
    return createCodec(name, compile(topic.avro), topic.schema, parseKey(topic.key), writerOf)
  }
  return {
    dir,
    topics,
    registry,
    known,
    specs: () =>
      [...topics.values()].map(({ name, partitions, retentionMs, retentionBytes, cleanup, replicas, minInSync }) => ({
        topic: { name },
        partitions,
        retentionMs,
        retentionBytes,
        cleanup,
        ...(replicas !== undefined && { replicas }),
        ...(minInSync !== undefined && { minInSync }),
      })),
    codec: name => {
      if (!codecs.has(name)) codecs.set(name, build(name))
      return codecs.get(name) as never
    },
  }
}
