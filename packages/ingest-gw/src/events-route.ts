import { hash } from 'node:crypto'
import type { Catalogue } from '@weft/schema'
import type { Message } from '@weft/transport'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Call, release } from './admission.ts'
import type { Appender } from './appender.ts'
import { decompress, type ParsedBody, parseBody } from './body.ts'
import type { CheckEvent, CheckedEvent } from './event.ts'
import type { Answer, IdempotencyKeys } from './idempotency.ts'
import type { RateLimit } from './limits.ts'
import { countEvents } from './metrics.ts'
import { Problem, type ProblemBody } from './problem.ts'
import { factsOf, rawRecords } from './raw-record.ts'
import type { Claim, SeenEvents } from './seen.ts'

export interface EventsRoute {
  readonly catalogue: Catalogue
  readonly check: CheckEvent
  readonly seen: SeenEvents
  readonly idempotency: Pick<IdempotencyKeys, 'begin' | 'end'>
  readonly appender: Appender
  readonly rate: RateLimit
  readonly maxDecodedBytes: number
  readonly maxEventBytes: number
  readonly maxEvents: number
  /** What a failed append is told as. */
  readonly logFault: (error: unknown) => Error
}

/** Of one event, in the order sent. */
export interface EventResult {
  /** Missing for a rejected event that brought none. */
  readonly event_id?: string
  readonly status: 'accepted' | 'duplicate' | 'rejected'
  /** Accepted and on disk here; it gets into the log when the log takes it. */
  readonly spooled?: true
  readonly error?: ProblemBody
}

/**
 * The handler of POST /v1/events. Nothing is answered before the log has the events durably, and no event of a request
 * is appended before all of them were looked at: what is wrong is told, what is right is stored.
 */
export function eventsHandler(route: EventsRoute) {
  const { idempotency, maxDecodedBytes, maxEvents, rate } = route
  const work = worker(route)

  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const call = request.call as Call
    const { identity, encoding, format, idempotencyKey: key } = call
    // From here on the memory is held until the answer, also when the client goes away.
    call.handled = true
    try {
      let body = request.body as Buffer | undefined
      if (!body || body.length === 0)
        throw new Problem('empty_body', 'the body is empty: send an event, or an array of them')
      if (encoding !== undefined) body = await decompress(body, encoding, maxDecodedBytes)
      if (body.length !== call.lease.bytes) call.lease.resize(body.length)
      const digest = key === undefined ? '' : hash('sha256', body)
      const parsed = parseBody(body, format, maxEvents)
      rate.take(identity.tenant, parsed.events.length)
      if (key === undefined) return answer(reply, await work(request, call, parsed, ''))

      const before = await idempotency.begin(identity.tenant, key, digest)
      if (before) return answer(reply.header('idempotency-replayed', 'true'), before)
      let made: Answer | undefined
      try {
        made = await work(request, call, parsed, digest)
      } finally {
        await idempotency.end(identity.tenant, key, digest, made)
      }
      answer(reply, made)
    } finally {
      release(call)
    }
  }
}

function answer(reply: FastifyReply, { status, body }: Answer): void {
  reply.code(status).header('content-type', 'application/json; charset=utf-8').send(body)
}

/** The events of a request that may be stored, and of those that may not the results, by their places in the request. */
interface Sorted {
  readonly tenant: string
  readonly results: (EventResult | undefined)[]
  readonly checked: readonly CheckedEvent[]
  readonly messages: readonly Message[]
  readonly places: readonly number[]
}

function worker({ appender, catalogue, check, logFault, maxEventBytes, seen }: EventsRoute) {
  const record = rawRecords(catalogue)

  const sort = (
    request: FastifyRequest,
    call: Call,
    { events, single, escapes }: ParsedBody,
    digest: string,
  ): Sorted => {
    const { tenant } = call.identity
    const { idempotencyKey: key } = call
    const now = Date.now()
    const facts = factsOf(request, now, key)
    const results: (EventResult | undefined)[] = new Array(events.length)
    const checked: CheckedEvent[] = []
    const messages: Message[] = []
    const places: number[] = []
    let place = 0
    // The same request sent again, also after a crash, must give an event the same id.
    const idOf = key === undefined ? undefined : () => idFrom(tenant, key, digest, place)
    const context = { tenant, now, escapes, idOf }
    for (; place < events.length; place++) {
      const raw = events[place]
      let event = raw instanceof Problem ? raw : check(raw, context)
      if (!(event instanceof Problem)) {
        const message = record(event, facts)
        const size = message.value.length
        if (size <= maxEventBytes) {
          checked.push(event)
          messages.push(message)
          places.push(place)
          continue
        }
        event = new Problem('event_too_large', `the event takes ${size} bytes; one may take ${maxEventBytes}`)
      }
      if (single) throw event
      results[place] = rejected(event, raw)
    }
    return { tenant, results, checked, messages, places }
  }

  const store = async ({ tenant, results, checked, messages, places }: Sorted): Promise<void> => {
    const stores: string[] = []
    const ids: string[] = []
    for (const { store_id, event_id } of checked) {
      stores.push(store_id)
      ids.push(event_id)
    }
    const taken = seen.claim(stores, ids)
    const claim: Claim = taken instanceof Promise ? await taken : taken
    const { states } = claim
    const isFresh = (_: unknown, at: number) => states[at] === 'fresh'
    const fresh = states.every(isFresh) ? messages : messages.filter(isFresh)
    let spooled = false
    if (fresh.length > 0) {
      let size = 0
      for (const { value } of fresh) size += value?.length ?? 0
      try {
        const positions = await appender.append(tenant, fresh, size)
        claim.stored(positions)
        spooled = positions === undefined
      } catch (error) {
        claim.failed()
        throw logFault(error)
      }
    }
    const settled = states.includes('pending') ? await claim.settled() : states
    for (let at = 0; at < checked.length; at++) {
      const { event_id } = checked[at] as CheckedEvent
      const state = settled[at]
      let result: EventResult
      if (state === 'fresh')
        result = spooled ? { event_id, status: 'accepted', spooled } : { event_id, status: 'accepted' }
      else if (state === 'failed') {
        const fault = logFault(undefined)
        if (checked.length === 1 || !(fault instanceof Problem)) throw fault
        result = { event_id, status: 'rejected', error: fault.body }
      } else if (state === 'repeat' && !sameAsFirst(checked, at)) {
        const fault = new Problem('event_id_reused', 'the batch has this event_id twice with different contents', {
          path: '/event_id',
        })
        result = { event_id, status: 'rejected', error: fault.body }
      } else result = { event_id, status: 'duplicate' }
      results[places[at] as number] = result
    }
  }

  return async (request: FastifyRequest, call: Call, parsed: ParsedBody, digest: string): Promise<Answer> => {
    const sorted = sort(request, call, parsed, digest)
    if (sorted.checked.length > 0) await store(sorted)
    const results = sorted.results as EventResult[]
    countEvents(sorted.tenant, results)
    return parsed.single ? alone(results[0] as EventResult) : together(results)
  }
}

function sameAsFirst(checked: readonly CheckedEvent[], at: number): boolean {
  const event = checked[at] as CheckedEvent
  const first = checked.find(({ event_id, store_id }) => event_id === event.event_id && store_id === event.store_id)
  return first !== undefined && JSON.stringify(first) === JSON.stringify(event)
}

function rejected(problem: Problem, raw: unknown): EventResult {
  const id = typeof raw === 'object' && raw !== null ? (raw as { event_id?: unknown }).event_id : undefined
  const known = typeof id === 'string' && id.length > 0 && id.length <= 128
  return { ...(known && { event_id: id.toWellFormed() }), status: 'rejected', error: problem.body }
}

const alone = (result: EventResult): Answer => ({
  status: result.status === 'accepted' ? 202 : 200,
  body: JSON.stringify(result),
})

function together(results: readonly EventResult[]): Answer {
  const counts = { accepted: 0, duplicate: 0, rejected: 0 }
  let spooled = 0
  for (const result of results) {
    counts[result.status]++
    if (result.spooled) spooled++
  }
  const body = JSON.stringify({ ...counts, ...(spooled > 0 && { spooled }), results })
  return { status: counts.rejected > 0 ? 207 : 202, body }
}

const idFrom = (tenant: string, key: string, digest: string, index: number): string =>
  hash('sha256', `${tenant}\n${key}\n${digest}\n${index}`).slice(0, 32)
