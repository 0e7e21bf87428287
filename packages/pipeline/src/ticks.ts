import type { AvroSchema, Catalogue } from '@weft/schema'
import { HEADERS, header, headerOf, type Message, type Received } from '@weft/transport'
import type { Tick, TopicName } from './stage.ts'

export const TICK_TYPE = 'weft.tick'
/** On a tick: the alert rules that apply from there on, as JSON text. */
export const RULES_HEADER = 'weft-rules'

/** How far a clock of one of our servers may be ahead of the log's. What lies further ahead does not move time. */
export const MAX_AHEAD_MS = 300_000

/** undefined for a record; null for a tick that tells no time or one that has not come: it is passed over. */
export function tickOf(message: Received): Tick | null | undefined {
  const told = headerOf(message, HEADERS.tick)
  if (told === undefined) return undefined
  const tick = /^\d{1,15}$/.test(told) ? Number(told) : Number.NaN
  if (Number.isNaN(tick) || tick > message.appendedAt + MAX_AHEAD_MS) return null
  return { tick, headers: (message.headers ?? []).filter(([name]) => name !== HEADERS.tick) }
}

/** A tick as a message of a topic: whoever decodes it finds a blank value of the topic's own schema. */
export function tickMessage(catalogue: Catalogue, topic: string, { tick, headers }: Tick): Message {
  const codec = catalogue.codec(topic as TopicName)
  const schema = catalogue.topics.get(topic)?.avro
  const value = codec.encode(blank(schema as AvroSchema, tick) as never)
  return { value, time: tick, headers: [...headers, header(HEADERS.tick, String(tick))], schema: codec.schema }
}

function blank(schema: AvroSchema, at: number, name = ''): unknown {
  if (Array.isArray(schema)) return schema.includes('null') ? null : blank(schema[0], at, name)
  const kind = typeof schema === 'object' ? (schema as { type: AvroSchema }).type : schema
  if (typeof kind === 'object') return blank(kind, at, name)
  const node = schema as { fields?: { name: string; type: AvroSchema }[]; symbols?: string[]; logicalType?: string }
  switch (kind) {
    case 'record':
      return Object.fromEntries((node.fields ?? []).map(field => [field.name, blank(field.type, at, field.name)]))
    case 'enum':
      return node.symbols?.[0]
    case 'map':
      return {}
    case 'array':
      return []
    case 'string':
      return name === 'type' || name === 'event_type' ? TICK_TYPE : name === 'payload' ? '{}' : ''
    case 'bytes':
      return Buffer.alloc(0)
    case 'boolean':
      return false
    default:
      return node.logicalType === 'timestamp-millis' ? at : 0
  }
}
