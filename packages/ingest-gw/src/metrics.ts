import { Counter, Gauge, Histogram, registry } from '@weft/telemetry'

const registers = [registry]

export const events = new Counter({
  name: 'weft_ingest_events_total',
  help: 'Events that were answered, by outcome: accepted, duplicate, rejected.',
  labelNames: ['tenant', 'outcome'] as const,
  registers,
})
export const problems = new Counter({
  name: 'weft_ingest_problems_total',
  help: 'Problems told to clients, of whole requests and of single events, by code.',
  labelNames: ['code'] as const,
  registers,
})
export const requestSeconds = new Histogram({
  name: 'weft_ingest_request_seconds',
  help: 'From the headers of a request to its answer, by status.',
  labelNames: ['status'] as const,
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  registers,
})
const inFlight = new Set<{ readonly bytes: number }>()
new Gauge({
  name: 'weft_ingest_bytes_in_flight',
  help: 'Bytes of bodies held in memory.',
  registers,
  collect() {
    let bytes = 0
    for (const each of inFlight) bytes += each.bytes
    this.set(bytes)
  },
})
/** Its bytes are told, as long as it is not disposed of, when somebody asks: they change too often to be set each time. */
export function observeInFlight(of: { readonly bytes: number }): Disposable {
  inFlight.add(of)
  return { [Symbol.dispose]: () => void inFlight.delete(of) }
}
export const appendSeconds = new Histogram({
  name: 'weft_ingest_append_seconds',
  help: 'Duration of an append to the log.',
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  registers,
})
export const batchEvents = new Histogram({
  name: 'weft_ingest_append_events',
  help: 'Events in one append to the log.',
  buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
  registers,
})

type Outcome = 'accepted' | 'duplicate' | 'rejected'
const outcomes = new Map<string, Record<Outcome, Counter.Internal>>()

/** Counts the results of one request. */
export function countEvents(
  tenant: string,
  results: readonly { readonly status: Outcome; readonly error?: { readonly code: string } }[],
): void {
  let children = outcomes.get(tenant)
  if (!children) {
    const of = (outcome: Outcome) => events.labels(tenant, outcome)
    children = { accepted: of('accepted'), duplicate: of('duplicate'), rejected: of('rejected') }
    outcomes.set(tenant, children)
  }
  let accepted = 0
  let duplicate = 0
  for (const { status, error } of results) {
    if (status === 'accepted') accepted++
    else if (status === 'duplicate') duplicate++
    if (error) problems.inc({ code: error.code })
  }
  if (accepted > 0) children.accepted.inc(accepted)
  if (duplicate > 0) children.duplicate.inc(duplicate)
  const rejected = results.length - accepted - duplicate
  if (rejected > 0) children.rejected.inc(rejected)
}
