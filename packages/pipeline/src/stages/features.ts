import { FEATURE_NAMES, type FeatureName } from '../feature-names.ts'
import { idOf, joined } from '../identity.ts'
import { addToSession, newSession, type Session } from '../session.ts'
import { type Stage, stage } from '../stage.ts'

/** Raise it with every change of what a feature means. */
export const FEATURE_VERSION = '1'

const DAY = 86_400_000

/**
 * events.enriched.v1 → features.stream.v1 and features.latest.v1: the features of a session at each of its events. A
 * session is forgotten when the stage's clock has seen nothing of it for `idleMs`. Events of nobody (neither session nor
 * user) have no features.
 */
export const features = ({ idleMs = DAY } = {}): Stage =>
  stage<'events.enriched.v1', 'features.stream.v1' | 'features.latest.v1'>({
    name: 'features',
    reads: ['events.enriched.v1'],
    writes: ['features.stream.v1', 'features.latest.v1'],
    ticksTo: 'features.stream.v1',
    clock: event => event.received_at,

    process(record, context) {
      const { store_id, user_id, session_id, event_id, type, sent_at, received_at, payload } = record.value
      if (session_id === null && user_id === null) return context.count('anonymous')
      const sessions = context.state<Session>('sessions')
      const id = joined(record.key, session_id)
      const event = { type, sent_at, payload: JSON.parse(payload) as Record<string, unknown> }
      const session = sessions.get(id) ?? newSession(event)
      addToSession(session, event)
      session.seen = context.now
      if (session.wake === 0) {
        session.wake = context.now + idleMs
        context.schedule<true>().set(session.wake, id, true)
      }
      sessions.set(id, session)

      const whose = { store_id, user_id, session_id }
      const values = featuresOf(session)
      const version = { feature_version: FEATURE_VERSION, features: values }
      const vector = { feature_id: idOf('features', store_id, event_id), event_type: type, source_event_id: event_id }
      const times = { computed_at: context.now, sent_at, received_at }
      context.emit('features.stream.v1', { ...whose, ...version, ...vector, ...times, payload: null }, record)
      const ttl_seconds = Math.round(idleMs / 1000)
      context.emit('features.latest.v1', { ...whose, ...version, updated_at: context.now, ttl_seconds }, record)
    },

    due({ id }, context) {
      const sessions = context.state<Session>('sessions')
      const session = sessions.get(id)
      if (!session) return
      if (session.seen + idleMs <= context.now) return sessions.set(id, undefined)
      session.wake = session.seen + idleMs
      sessions.set(id, session)
      context.schedule<true>().set(session.wake, id, true)
    },
  })

/** What the model sees, by name, and a few more for whoever trains another. */
export function featuresOf(session: Session): Record<string, number> {
  const [administrative, informational, product] = session.pages as [number, number, number]
  const seconds = session.ms.map(ms => ms / 1000) as [number, number, number]
  const seen: Record<FeatureName, number> = {
    administrative_pages: administrative,
    administrative_seconds: seconds[0],
    informational_pages: informational,
    informational_seconds: seconds[1],
    product_pages: product,
    product_seconds: seconds[2],
    special_day: session.special_day,
    month: session.month,
    weekend: session.weekend,
    returning: session.returning,
    traffic_source: session.traffic_source,
  }
  const ordered = Object.fromEntries(FEATURE_NAMES.map(name => [name, seen[name]]))
  return { ...ordered, events: session.events, carts: session.carts, purchases: session.purchases }
}
