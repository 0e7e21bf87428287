import type { SchemaRef } from './transport.ts'

/**
 * The ids that a schema registry gave to schemas, for transports whose native way to carry a schema is such an id. What was
 * found once is known from then on, so that records need no waiting.
 */
export interface SchemaIds {
  /** undefined if it is not known here: `findId` asks. */
  idOf(schema: SchemaRef): number | undefined
  /** UNAVAILABLE while the registry cannot be reached; SCHEMA if it has no such schema, retryable if it ought to have it. */
  findId(schema: SchemaRef): Promise<number>
  /** undefined if it is not known here: `findSchema` asks. Of several subjects that share a schema, the one of the topic. */
  schemaOf(id: number, topic: string): SchemaRef | undefined
  /** Subject UNKNOWN_ID if the registry has no such id; UNAVAILABLE while it cannot be reached. */
  findSchema(id: number, topic: string): Promise<SchemaRef>
}

/**
 * Subject of a value whose framing names an id that the registry does not have; `version` is that id. The value is as it
 * came, its framing included, and goes back into a log unchanged.
 */
export const UNKNOWN_ID = 'registry:unknown-id'
