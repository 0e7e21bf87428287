import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { SchemaRef } from '@weft/transport'
import { type AvroNode, type AvroRecord, parseAvro } from './avro-schema.ts'
import { type Fault, pointer } from './fault.ts'

/** One released version of a topic's schema. Releases are never changed, taken back or renumbered. */
export interface Release {
  /** Unique over all topics, for ever. */
  readonly id: number
  readonly topic: string
  /** 1, 2, 3… per topic. */
  readonly version: number
  /** SHA-256 of the schema without its docs. */
  readonly fingerprint: string
}

export interface ReleasedSchema extends Release {
  readonly schema: AvroRecord
}

export interface Registry {
  /** In the order of their versions; none for a topic that was never released. */
  releases(topic: string): readonly ReleasedSchema[]
  byId(id: number): ReleasedSchema | undefined
  /** The stable id of a released version; undefined while it is not released. */
  idOf(ref: SchemaRef): number | undefined
}

/** The subject of a topic's values, as Confluent's TopicNameStrategy names it. */
export const subjectOf = (topic: string): string => `${topic}-value`

/** Equal for schemas that differ in docs, order of attributes and white space only. */
export const fingerprint = (schema: AvroNode): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical(schema)))
    .digest('hex')

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([name, inner]) => name !== 'doc' || typeof inner !== 'string')
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, canonical(inner)]),
  )
}

/** Reads `released/` of a schemas folder, adding to `faults` what does not hold together. */
export async function loadRegistry(dir: string, faults: Fault[]): Promise<Registry> {
  const at = '/released/index.json'
  const text = await readFile(path.join(dir, 'released', 'index.json'), 'utf8').catch(absent)
  const releases = text === undefined ? [] : parseIndex(text, at, faults)
  const released: ReleasedSchema[] = []
  for (const release of releases) {
    const file = `/released/${release.topic}/${release.version}.avsc`
    const body = await readFile(path.join(dir, file), 'utf8').catch(absent)
    if (body === undefined) {
      faults.push({
        path: file,
        problem: 'is missing',
        expected: 'every release of the index, since releases are never taken back',
      })
      continue
    }
    const parsed = parseAvro(body, file)
    if ('faults' in parsed) faults.push(...parsed.faults)
    else if (fingerprint(parsed.schema) !== release.fingerprint) {
      faults.push({
        path: file,
        problem: 'was changed after its release',
        expected: 'the released text; put a change into the current schema',
      })
    } else released.push({ ...release, schema: parsed.schema })
  }
  return registryOf(released)
}

function registryOf(released: readonly ReleasedSchema[]): Registry {
  const byTopic = Map.groupBy(released, ({ topic }) => topic)
  const byId = new Map(released.map(release => [release.id, release]))
  const ids = new Map(released.map(({ id, topic, version }) => [`${subjectOf(topic)}/${version}`, id]))
  return {
    releases: topic => byTopic.get(topic) ?? [],
    byId: id => byId.get(id),
    idOf: ({ subject, version }) => ids.get(`${subject}/${version}`),
  }
}

function parseIndex(text: string, at: string, faults: Fault[]): readonly Release[] {
  let index: unknown
  try {
    index = JSON.parse(text)
  } catch (error) {
    faults.push({ path: at, problem: `is not JSON (${(error as Error).message})`, expected: 'the list of releases' })
    return []
  }
  if (!Array.isArray(index)) {
    faults.push({ path: at, problem: 'is not a list', expected: 'a list of {id, topic, version, fingerprint}' })
    return []
  }
  const next = new Map<string, number>()
  let lastId = 0
  return index.filter((entry: Partial<Release> | null, position): entry is Release => {
    const where = at + pointer(position)
    const { id, topic, version, fingerprint } = entry ?? {}
    if (
      !Number.isInteger(id) ||
      typeof topic !== 'string' ||
      !Number.isInteger(version) ||
      typeof fingerprint !== 'string'
    ) {
      faults.push({ path: where, problem: 'is not a release', expected: '{id, topic, version, fingerprint}' })
      return false
    }
    const expected = next.get(topic) ?? 1
    if (version !== expected) {
      faults.push({
        path: `${where}/version`,
        problem: `is ${version}`,
        expected: `${expected}, the next version of ${topic}`,
      })
    }
    if ((id as number) <= lastId)
      faults.push({ path: `${where}/id`, problem: `is ${id}`, expected: `a number above ${lastId}` })
    next.set(topic, (version as number) + 1)
    lastId = Math.max(lastId, id as number)
    return true
  })
}

/** Writes the next version of a topic's schema: the file first, then the index that names it, each at once or not at all. */
export async function writeRelease(dir: string, topic: string, text: string): Promise<Release> {
  const file = path.join(dir, 'released', 'index.json')
  const index: Release[] = JSON.parse((await readFile(file, 'utf8').catch(absent)) ?? '[]')
  const parsed = parseAvro(text)
  if ('faults' in parsed) throw new TypeError(`the schema of ${topic} is not valid`)
  const release: Release = {
    id: Math.max(0, ...index.map(({ id }) => id)) + 1,
    topic,
    version: Math.max(0, ...index.filter(entry => entry.topic === topic).map(({ version }) => version)) + 1,
    fingerprint: fingerprint(parsed.schema),
  }
  await mkdir(path.join(dir, 'released', topic), { recursive: true })
  await replace(path.join(dir, 'released', topic, `${release.version}.avsc`), text)
  await replace(file, `${JSON.stringify([...index, release], null, 2)}\n`)
  return release
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text)
  await rename(`${file}.new`, file)
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
  return undefined
}
