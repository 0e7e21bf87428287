import { checkEvent, describeFault, type EventRaw, entityKey, eventTypesVersion, isEventType } from '@weft/schema'
import { HEADERS, headerOf } from '@weft/transport'
import { joined } from '../identity.ts'
import { type Stage, type StageRecord, stage } from '../stage.ts'
import { MAX_AHEAD_MS } from '../ticks.ts'

const DAY = 86_400_000
/** Of forgotten ids, removed with each tick at most. */
const SWEEP = 1000

/** Characters of an id, which is part of keys. */
const LONGEST = { event_id: 128, user_id: 256, session_id: 256 }

type Reason = readonly [code: string, reason: string]

/**
 * events.raw.v1 → events.validated.v1, or events.dlq.v1 for what does not fit. The same event id of a tenant again within
 * `dedupeMs` of the stage's clock counts as a duplicate and comes out once.
 */
export const validate = ({ dedupeMs = DAY } = {}): Stage =>
  stage<'events.raw.v1', 'events.validated.v1' | 'events.dlq.v1'>({
    name: 'validate',
    reads: ['events.raw.v1'],
    writes: ['events.validated.v1', 'events.dlq.v1'],
    ticksTo: 'events.validated.v1',
    clock: event => event.received_at,

    process(record, context) {
      const wrong = faultOf(record)
      if (wrong) return context.reject(record, ...wrong)
      const event = record.value
      const { now } = context
      // Two generations of ids, so that a whole one can be forgotten: an id is looked for in its own and the one before.
      const seen = context.state<number>('seen')
      const generation = Math.floor(now / dedupeMs)
      const id = `|${joined(event.store_id, event.event_id)}`
      const before = seen.get(named(generation) + id) ?? seen.get(named(generation - 1) + id)
      if (before !== undefined && now - before < dedupeMs) return context.count('duplicate')
      seen.set(named(generation) + id, now)
      context.emit(
        'events.validated.v1',
        { ...event, validated_at: now, validated_by: 'validate', schema_version: eventTypesVersion },
        record,
      )
    },

    tick(_, context) {
      const seen = context.state<number>('seen')
      let left = SWEEP
      for (const [id] of seen.range('', named(Math.floor(context.now / dedupeMs) - 1))) {
        if (left-- === 0) break
        seen.set(id, undefined)
      }
    },
  })

const named = (generation: number): string => Math.max(0, generation).toString(36).padStart(8, '0')

function faultOf(record: StageRecord<EventRaw>): Reason | undefined {
  const { value: event, key, source } = record
  for (const [field, most] of Object.entries(LONGEST)) {
    const id = event[field as keyof typeof LONGEST]
    if (id === '' || (id !== null && id.length > most)) {
      return ['INVALID_ID', `/${field} has ${id.length} characters: expected 1 to ${most}`]
    }
  }
  const tenant = source && headerOf(source, HEADERS.tenant)
  if (event.store_id === '' || (tenant !== undefined && tenant !== event.store_id)) {
    return [
      'WRONG_TENANT',
      `/store_id is ${JSON.stringify(event.store_id)}: expected the tenant ${JSON.stringify(tenant)}`,
    ]
  }
  if (key !== entityKey(event)) {
    return ['WRONG_KEY', `the record's key is ${JSON.stringify(key)}: expected ${JSON.stringify(entityKey(event))}`]
  }
  for (const field of ['sent_at', 'received_at'] as const) {
    if (!(Number.isSafeInteger(event[field]) && event[field] >= 0)) {
      return ['INVALID_TIME', `/${field} is ${event[field]}: expected milliseconds since 1970`]
    }
  }
  if (source && event.received_at > source.appendedAt + MAX_AHEAD_MS) {
    const ahead = event.received_at - source.appendedAt
    return [
      'CLOCK_AHEAD',
      `/received_at is ${ahead} ms after the log took the record: expected at most ${MAX_AHEAD_MS}`,
    ]
  }
  if (!isEventType(event.type)) return ['UNKNOWN_TYPE', checkEvent(event.type, undefined).map(describeFault).join('; ')]
  let payload: unknown
  try {
    payload = JSON.parse(event.payload)
  } catch (error) {
    return ['MALFORMED_PAYLOAD', `/payload is not JSON: ${(error as Error).message}`]
  }
  const faults = checkEvent(event.type, payload)
  return faults.length === 0 ? undefined : ['INVALID_PAYLOAD', faults.map(describeFault).join('; ')]
}
