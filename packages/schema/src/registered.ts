import type { AvroNode } from './avro-schema.ts'
import type { ConfluentApi, Registered } from './confluent-api.ts'
import { fingerprint } from './registry.ts'

/** What is sent of a schema: always the same text, as registries compare texts. */
export const textOf = (schema: AvroNode): string => JSON.stringify(schema)

/** The version of a subject that is this schema, whatever its docs, order of attributes and white space are. */
export async function findRegistered(
  api: ConfluentApi,
  subject: string,
  schema: AvroNode,
): Promise<Registered | undefined> {
  const exact = await api.lookUp(subject, textOf(schema))
  if (exact) return exact
  const print = fingerprint(schema)
  for (const version of (await api.versions(subject)).toReversed()) {
    const other = await api.version(subject, version)
    const avro = other && avroIn(other)
    if (avro && fingerprint(avro) === print) return other
  }
  return undefined
}

/** The Avro schema that a registry has; undefined if it is of another kind. */
export function avroIn({
  schema,
  schemaType = 'AVRO',
}: Pick<Registered, 'schema' | 'schemaType'>): AvroNode | undefined {
  if (schemaType !== 'AVRO') return undefined
  try {
    const avro: unknown = JSON.parse(schema)
    return typeof avro === 'object' && avro !== null ? (avro as AvroNode) : undefined
  } catch {
    return undefined
  }
}
