import type { DeadLetter } from '@weft/schema'
import { HEADERS, type Header, headerOf, type Received } from '@weft/transport'
import { idOf } from './identity.ts'
import type { StageRecord } from './stage.ts'

/** What goes along from record to record: whose it is and which trace it belongs to. */
export const carried = (message: Pick<Received, 'headers'>): Header[] =>
  (message.headers ?? []).filter(([name]) => name === HEADERS.tenant || name === HEADERS.trace)

export interface Failure {
  readonly code: string
  readonly reason: string
  readonly consumer: string
  readonly attempts: number
  readonly at: number
}

/** For a record so large that its letter would be too large: it is left where it was read from. */
export const withoutValue = (item: StageRecord<DeadLetter>): StageRecord<DeadLetter> => ({
  ...item,
  value: {
    ...item.value,
    original_value: null,
    error_reason: `${item.value.error_reason} (too large for a dead letter: its body is only where it was read from)`,
  },
})

/** A message as a dead letter. `value` is the decoded body, if it could be decoded. */
export function letterOf(from: Received, failure: Failure, value?: unknown): StageRecord<DeadLetter> {
  const { partition, at } = from.position
  const named = (value ?? {}) as { event_id?: unknown; source_event_id?: unknown }
  const event = named.event_id ?? named.source_event_id
  const store = headerOf(from, HEADERS.tenant) ?? ''
  return {
    topic: 'events.dlq.v1',
    key: store,
    time: from.time,
    headers: carried(from),
    source: from,
    value: {
      dead_letter_id: idOf(failure.consumer, from.topic.name, partition, at),
      store_id: store,
      event_id: typeof event === 'string' ? event : null,
      original_topic: from.topic.name,
      original_partition: partition,
      original_position: at,
      original_key: from.key ? Buffer.from(from.key) : null,
      original_value: from.value ? Buffer.from(from.value) : null,
      original_headers: (from.headers ?? []).map(([name, bytes]) => ({ name, value: Buffer.from(bytes) })),
      original_time: from.time,
      original_schema: from.schema ? `${from.schema.subject}/${from.schema.version}` : null,
      error_code: failure.code,
      error_reason: failure.reason,
      consumer: failure.consumer,
      attempts: failure.attempts,
      failed_at: failure.at,
    },
  }
}
