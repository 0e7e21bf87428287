import { hash } from 'node:crypto'
import type { Catalogue } from '@weft/schema'
import { bytes, HEADERS, type Header, header, type Message } from '@weft/transport'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Call, release } from './admission.ts'
import type { Appender } from './appender.ts'
import { decompress, type ParsedBody, parseBody } from './body.ts'
import type { CheckEvent, CheckedEvent } from './event.ts'
import type { Answer, IdempotencyKeys } from './idempotency.ts'
import type { InFlight, RateLimit } from './limits.ts'
import { countEvents } from './metrics.ts'
import { Problem, type ProblemBody } from './problem.ts'
import type { Claim, SeenEvents } from './seen.ts'

export interface EventsRoute {
  readonly catalogue: Catalogue
  readonly check: CheckEvent
  readonly seen: SeenEvents
  readonly idempotency: IdempotencyKeys
  readonly appender: Appender
  readonly rate: RateLimit
  readonly inFlight: InFlight
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

const MAX_HEADER_TEXT = 1024

/**
 * The handler of POST /v1/events. Nothing is answered before the log has the events durably, and no event of a request
 * is appended before all of them were looked at: what is wrong is told, what is right is stored.
 */
export function eventsHandler(route: EventsRoute) {
  const { idempotency, inFlight, maxDecodedBytes, maxEvents, rate } = route

  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const call = request.call as Call
    const { identity, encoding, format, idempotencyKey: key } = call
    // From here on the memory is held until the answer, also when the client goes away.
    request.call = undefined
    try {
      let body = request.body as Buffer | undefined
      if (!body || body.length === 0)
        throw new Problem('empty_body', 'the body is empty: send an event, or an array of them')
      if (encoding !== undefined) body = await decompress(body, encoding, maxDecodedBytes)
      if (body.length !== call.lease.bytes) call.lease.resize(body.length)
      const digest = key === undefined ? '' : hash('sha256', body)
      const parsed = parseBody(body, format, maxEvents)
      rate.take(identity.tenant, parsed.events.length)
      if (key === undefined) return answer(reply, await work(route, request, call, parsed, ''))

      const before = await idempotency.begin(identity.tenant, key, digest)
      if (before) return answer(reply.header('idempotency-replayed', 'true'), before)
      let made: Answer | undefined
      try {
        made = await work(route, request, call, parsed, digest)
      } finally {
        await idempotency.end(identity.tenant, key, digest, made)
      }
      return answer(reply, made)
    } finally {
      release(call, inFlight)
    }
  }
}

function answer(reply: FastifyReply, { status, body }: Answer): FastifyReply {
  return reply.code(status).header('content-type', 'application/json; charset=utf-8').send(body)
}

async function work(
  route: EventsRoute,
  request: FastifyRequest,
  { identity, idempotencyKey }: Call,
  { events, single, escapes }: ParsedBody,
  digest: string,
): Promise<Answer> {
  const now = Date.now()
  const results: (EventResult | undefined)[] = new Array(events.length)
  const checked: CheckedEvent[] = []
  const places: number[] = []
  for (const [index, raw] of events.entries()) {
    // The same request sent again, also after a crash, must give an event the same id.
    const idOf = idempotencyKey === undefined ? undefined : () => idFrom(identity.tenant, idempotencyKey, digest, index)
    const event =
      raw instanceof Problem ? raw : route.check(raw, { tenant: identity.tenant, now, escapes, ...(idOf && { idOf }) })
    if (event instanceof Problem) {
      if (single) throw event
      results[index] = rejected(event, raw)
    } else {
      checked.push(event)
      places.push(index)
    }
  }
  const messages = encode(route, request, checked, now, idempotencyKey)
  for (let at = checked.length - 1; at >= 0; at--) {
    const size = (messages[at] as Message).value?.length ?? 0
    if (size <= route.maxEventBytes) continue
    const event = checked[at] as CheckedEvent
    const fault = new Problem('event_too_large', `the event takes ${size} bytes; one may take ${route.maxEventBytes}`)
    if (single) throw fault
    results[places[at] as number] = rejected(fault, event)
    for (const list of [messages, checked, places]) list.splice(at, 1)
  }
  if (checked.length > 0)
    await store(route, identity.tenant, checked, messages, (at, result) => {
      results[places[at] as number] = result
    })
  countEvents(identity.tenant, results as EventResult[])
  return single ? alone(results[0] as EventResult) : together(results as EventResult[])
}

async function store(
  { seen, appender, logFault }: EventsRoute,
  tenant: string,
  checked: readonly CheckedEvent[],
  messages: readonly Message[],
  tell: (at: number, result: EventResult) => void,
): Promise<void> {
  const taken = seen.claim(
    checked.map(event => event.store_id),
    checked.map(event => event.event_id),
  )
  const claim: Claim = taken instanceof Promise ? await taken : taken
  const fresh = claim.states.every(state => state === 'fresh')
    ? messages
    : messages.filter((_, at) => claim.states[at] === 'fresh')
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
  const states = claim.states.includes('pending') ? await claim.settled() : claim.states
  for (const [at, event] of checked.entries()) {
    const { event_id } = event
    const state = states[at]
    if (state === 'fresh')
      tell(at, spooled ? { event_id, status: 'accepted', spooled } : { event_id, status: 'accepted' })
    else if (state === 'failed') {
      const fault = logFault(undefined)
      if (checked.length === 1 || !(fault instanceof Problem)) throw fault
      tell(at, { event_id, status: 'rejected', error: fault.body })
    } else if (state === 'repeat' && !sameAsFirst(checked, at)) {
      const fault = new Problem('event_id_reused', 'the batch has this event_id twice with different contents', {
        path: '/event_id',
      })
      tell(at, { event_id, status: 'rejected', error: fault.body })
    } else tell(at, { event_id, status: 'duplicate' })
  }
}

function sameAsFirst(checked: readonly CheckedEvent[], at: number): boolean {
  const event = checked[at] as CheckedEvent
  const first = checked.find(({ event_id, store_id }) => event_id === event.event_id && store_id === event.store_id)
  return first !== undefined && JSON.stringify(first) === JSON.stringify(event)
}

function encode(
  { catalogue }: EventsRoute,
  request: FastifyRequest,
  checked: readonly CheckedEvent[],
  now: number,
  idempotencyKey: string | undefined,
): Message[] {
  const codec = catalogue.codec('events.raw.v1')
  const user_agent = request.headers['user-agent']?.slice(0, MAX_HEADER_TEXT) ?? null
  const referrer = request.headers.referer?.slice(0, MAX_HEADER_TEXT) ?? null
  const idempotency_key = idempotencyKey ?? null
  const trace = header(HEADERS.trace, request.traceparent)
  let tenant = ''
  let headers: readonly Header[] = []
  return checked.map(event => {
    if (event.store_id !== tenant) {
      tenant = event.store_id
      headers = [header(HEADERS.tenant, tenant), trace]
    }
    return {
      key: bytes(event.key),
      value: codec.encode({
        event_id: event.event_id,
        store_id: event.store_id,
        user_id: event.user_id,
        session_id: event.session_id,
        type: event.type,
        payload: event.payload,
        sent_at: event.sent_at,
        received_at: now,
        idempotency_key,
        user_agent,
        referrer,
      }),
      time: event.sent_at,
      headers,
      schema: codec.schema,
    }
  })
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
