import { eventTypesVersion } from '@weft/schema'
import { deviceOf } from '../device.ts'
import { moneyOf } from '../money.ts'
import { referrerOf } from '../referrer.ts'
import { type Stage, stage } from '../stage.ts'

/**
 * events.validated.v1 → events.enriched.v1: device, referrer, session and money in one map of texts. A name is absent
 * when there is nothing to tell.
 */
export const enrich = ({ currency = 'USD' } = {}): Stage =>
  stage<'events.validated.v1', 'events.enriched.v1'>({
    name: 'enrich',
    reads: ['events.validated.v1'],
    writes: ['events.enriched.v1'],
    ticksTo: 'events.enriched.v1',

    process(record, context) {
      const { idempotency_key: _, ...event } = record.value
      const payload = JSON.parse(event.payload) as Record<string, unknown>
      const enrichments: Record<string, string> = {
        'received.delay_ms': String(event.received_at - event.sent_at),
        ...(event.user_agent && deviceOf(event.user_agent)),
        ...referrerOf(event.referrer, typeof payload.url === 'string' ? payload.url : undefined),
        ...moneyOf(payload.price ?? payload.total, payload.currency, currency),
      }
      const session = sessionOf(event)
      if (session) enrichments.session = session
      // What one event can be known by at once, so the time is the one that validate gave it.
      const enriched = { ...event, enrichments, enriched_at: event.validated_at, schema_version: eventTypesVersion }
      context.emit('events.enriched.v1', enriched, record)
    },
  })

/** The visit in one spelling, unique among tenants: the tracker's session, else the known visitor's. */
function sessionOf(event: { store_id: string; session_id: string | null; user_id: string | null }): string | undefined {
  const session = event.session_id?.trim()
  if (session) return `${event.store_id}/session/${session}`
  const user = event.user_id?.trim()
  return user ? `${event.store_id}/user/${user}` : undefined
}
