import type { Catalogue } from '@weft/schema'
import { HEADERS, type Header, type Message } from '@weft/transport'
import type { FastifyRequest } from 'fastify'
import type { CheckedEvent } from './event.ts'

const MAX_HEADER_TEXT = 1024
const MAX_TENANTS = 10_000

/** What the records of one request have in common. */
export interface RequestFacts {
  /** When the gateway took it, milliseconds since the epoch. */
  readonly receivedAt: number
  readonly idempotencyKey: string | undefined
  readonly userAgent: string | null
  readonly referrer: string | null
  readonly trace: Header
}

export type RawRecord = (event: CheckedEvent, facts: RequestFacts) => Message & { readonly value: Uint8Array }

export const factsOf = (
  { headers, traceparent }: FastifyRequest,
  receivedAt: number,
  idempotencyKey: string | undefined,
): RequestFacts => ({
  receivedAt,
  idempotencyKey,
  userAgent: headers['user-agent']?.slice(0, MAX_HEADER_TEXT) ?? null,
  referrer: headers.referer?.slice(0, MAX_HEADER_TEXT) ?? null,
  trace: [HEADERS.trace, Buffer.from(traceparent)],
})

/** Makes the records of events.raw.v1. */
export function rawRecords(catalogue: Catalogue): RawRecord {
  const codec = catalogue.codec('events.raw.v1')
  const tenants = new Map<string, Header>()
  const tenantHeader = (tenant: string): Header => {
    let found = tenants.get(tenant)
    if (!found) {
      if (tenants.size >= MAX_TENANTS) tenants.clear()
      found = [HEADERS.tenant, Buffer.from(tenant)]
      tenants.set(tenant, found)
    }
    return found
  }
  return (event, { receivedAt, idempotencyKey, userAgent, referrer, trace }) => ({
    key: Buffer.from(event.key),
    value: codec.encode({
      event_id: event.event_id,
      store_id: event.store_id,
      user_id: event.user_id,
      session_id: event.session_id,
      type: event.type,
      payload: event.payload,
      sent_at: event.sent_at,
      received_at: receivedAt,
      idempotency_key: idempotencyKey ?? null,
      user_agent: userAgent,
      referrer,
    }),
    time: event.sent_at,
    headers: [tenantHeader(event.store_id), trace],
    schema: codec.schema,
  })
}
