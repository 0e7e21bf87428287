import { readFile } from 'node:fs/promises'
import type { AvroRecord } from './avro-schema.ts'
import type { Catalogue, TopicDefinition } from './catalogue.ts'
import type { Compatibility } from './catalogue-file.ts'
import { type Direction, type Mismatch, mismatches } from './compatibility.ts'
import { pointer, SchemaFaults } from './fault.ts'
import { fingerprint, type Release, writeRelease } from './registry.ts'

/** A change of a topic's schema that its declared compatibility does not allow. */
export interface Incompatibility extends Mismatch {
  readonly topic: string
  readonly direction: Direction
  /** The released versions that the change does not go with, the newest first. */
  readonly versions: readonly number[]
}

/** Compares every schema with its last released version, or with all of them when its compatibility is transitive. */
export const checkSchemas = (catalogue: Catalogue): Incompatibility[] =>
  [...catalogue.topics.values()].flatMap(topic => checkTopic(catalogue, topic))

const checkTopic = ({ registry }: Catalogue, { name, avro, compatibility }: TopicDefinition): Incompatibility[] =>
  incompatibilities(name, avro, compatibility, registry.releases(name))

/** What keeps a schema from following these versions, which rise. */
export function incompatibilities(
  topic: string,
  avro: AvroRecord,
  compatibility: Compatibility,
  versions: readonly { readonly version: number; readonly schema: AvroRecord }[],
): Incompatibility[] {
  if (compatibility === 'NONE') return []
  const releases = versions.toReversed()
  const compared = compatibility.endsWith('_TRANSITIVE') ? releases : releases.slice(0, 1)
  const [level] = compatibility.split('_')
  const directions = level === 'FULL' ? (['BACKWARD', 'FORWARD'] as const) : [level as Direction]
  const found = new Map<string, Incompatibility>()
  for (const { version, schema } of compared) {
    for (const direction of directions) {
      for (const mismatch of mismatches(avro, schema, direction)) {
        const same = `${direction} ${mismatch.field} ${mismatch.rule} ${mismatch.reason}`
        found.set(same, {
          ...mismatch,
          topic,
          direction,
          versions: [...(found.get(same)?.versions ?? []), version],
        })
      }
    }
  }
  return [...found.values()]
}

/** One line, such as `alerts.v1 severity (FORWARD, version 2): symbols page were added, so…`. */
export function describeIncompatibility({ topic, field, direction, versions, reason }: Incompatibility): string {
  return `${topic} ${field || '(the record)'} (${direction}, version ${versions.join(', ')}): ${reason}`
}

/**
 * Writes the current schema of a topic as its next released version; undefined if it is released already. Throws
 * SchemaFaults when it breaks the declared compatibility. Load the catalogue again to see the release.
 */
export async function releaseSchema(catalogue: Catalogue, topic: string): Promise<Release | undefined> {
  const definition = catalogue.topics.get(topic)
  if (!definition) {
    throw new SchemaFaults('cannot release', [
      {
        path: pointer(topic),
        problem: 'is not a topic of the catalogue',
        expected: [...catalogue.topics.keys()].join(', '),
      },
    ])
  }
  const print = fingerprint(definition.avro)
  if (catalogue.registry.releases(topic).some(release => release.fingerprint === print)) return undefined
  const broken = checkTopic(catalogue, definition)
  if (broken.length > 0) {
    const faults = broken.map(({ field, reason }) => ({
      path: pointer(topic) + (field && pointer(field)),
      problem: reason,
      expected: `a change that keeps ${definition.compatibility}`,
    }))
    throw new SchemaFaults('cannot release', faults)
  }
  return writeRelease(catalogue.dir, topic, await readFile(definition.file, 'utf8'))
}
