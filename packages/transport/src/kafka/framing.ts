import { type SchemaIds, UNKNOWN_ID } from '../schema-ids.ts'
import { type Message, type SchemaRef, WeftError } from '../transport.ts'
import type { FetchedBatch } from './driver.ts'

/**
 * Confluent's wire format: a zero, the schema's id in the registry as four bytes, the body.
 * https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
 */
const FRAME_BYTES = 5

export function framed(id: number, body: Uint8Array): Uint8Array {
  const value = Buffer.allocUnsafe(FRAME_BYTES + body.length)
  value[0] = 0
  value.writeUInt32BE(id, 1)
  value.set(body, FRAME_BYTES)
  return value
}

/** The id that a value begins with, if it may be framed. */
export function idIn(value: Uint8Array | null): number | undefined {
  if (value === null || value.length < FRAME_BYTES || value[0] !== 0) return undefined
  const [, a, b, c, d] = value as unknown as [number, number, number, number, number]
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
}

/** The body of a framed value; all of it when nobody knows what its id stands for. */
export const unframed = (value: Uint8Array, { subject }: SchemaRef): Uint8Array =>
  subject === UNKNOWN_ID ? value : value.subarray(FRAME_BYTES)

/** Whether the id of a message's schema has to be asked for before it can be framed. */
export const lacksId = ({ schema, value }: Message, ids: SchemaIds | undefined): boolean =>
  ids !== undefined &&
  schema !== undefined &&
  value !== null &&
  schema.subject !== UNKNOWN_ID &&
  ids.idOf(schema) === undefined

/** Asks for the ids of the messages' schemas; undefined if all are known. See SchemaIds.findId for errors. */
export function findIds(messages: readonly Message[], ids: SchemaIds | undefined): Promise<unknown> | undefined {
  const lacking = ids && messages.filter(message => lacksId(message, ids))
  if (!lacking || lacking.length === 0) return undefined
  const schemas = new Set(lacking.map(({ schema }) => schema as SchemaRef))
  return Promise.all([...schemas].map(schema => ids.findId(schema)))
}

/** The same for what must find its place: what the registry refuses goes without a frame, its schema in a header. */
export async function findIdsOrNot(messages: readonly Message[], ids: SchemaIds | undefined): Promise<void> {
  try {
    await findIds(messages, ids)
  } catch (error) {
    if (error instanceof WeftError && error.code === 'SCHEMA') return
    throw error
  }
}

export type FoundSchemas = ReadonlyMap<number, SchemaRef>

/** Asks what the ids stand for that fetched values begin with; undefined if all are known. See SchemaIds.findSchema for errors. */
export function findSchemas(
  batches: readonly FetchedBatch[],
  topic: string,
  ids: SchemaIds | undefined,
): Promise<FoundSchemas> | undefined {
  if (!ids) return undefined
  const waiting = new Map<number, Promise<readonly [number, SchemaRef]>>()
  for (const { records } of batches)
    for (const { value } of records) {
      const id = idIn(value)
      if (id === undefined || waiting.has(id) || ids.schemaOf(id, topic)) continue
      const found = ids.findSchema(id, topic).then(schema => [id, schema] as const)
      waiting.set(id, found)
    }
  return waiting.size === 0 ? undefined : Promise.all(waiting.values()).then(found => new Map(found))
}
