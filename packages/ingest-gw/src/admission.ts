import type { Socket } from 'node:net'
import { ROOT_CONTEXT, type Span, SpanKind, trace } from '@opentelemetry/api'
import { type Auth, credentialOf, type Identity, requireScope } from '@weft/auth'
import { parseTraceparent, traceparent, tracer } from '@weft/telemetry'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { type Format, formatOf, isEncoded } from './body.ts'
import type { InFlight, Lease, RateLimit } from './limits.ts'
import { Problem } from './problem.ts'

/** What is known of a request before its body is read. */
export interface Call {
  readonly identity: Identity
  readonly format: Format
  readonly encoding: string | undefined
  readonly idempotencyKey: string | undefined
  readonly lease: Lease
  /** That the handler has it, and releases it. */
  handled: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `admission`; undefined on other routes. */
    call: Call | undefined
    /** When its headers had come, by the clock of `performance`. */
    arrivedAt: number
    /** W3C trace context of the request: the caller's, or made here. */
    traceparent: string
    span: Span | undefined
  }
}

export interface AdmissionOptions {
  readonly auth: Auth
  readonly rate: RateLimit
  readonly inFlight: InFlight
  readonly maxBodyBytes: number
}

const spans = tracer('ingest-gw')
/** Visible ASCII: what a header carries without loss, and short enough for a key of the store. */
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/

/** An onRequest hook: who calls and what comes, refused before the body is read where that can be told already. */
export function admission({ auth, rate, inFlight, maxBodyBytes }: AdmissionOptions) {
  const admit = (request: FastifyRequest, reply: FastifyReply, identity: Identity): void => {
    requireScope(identity, 'ingest')
    const { headers } = request
    const format = formatOf(headers['content-type'])
    const encoding = isEncoded(headers['content-encoding']) ? headers['content-encoding'] : undefined
    const idempotencyKey = idempotencyKeyOf(headers['idempotency-key'])
    const length = headers['content-length']
    // A body of unknown length may become as long as one may be.
    const bytes = length === undefined ? maxBodyBytes : Number(length)
    if (bytes > maxBodyBytes)
      throw new Problem('body_too_large', `the body has ${bytes} bytes; a request may have ${maxBodyBytes}`)
    rate.require(identity.tenant, 1)
    const lease = inFlight.take(identity.tenant, bytes || 0)
    const call: Call = { identity, format, encoding, idempotencyKey, lease, handled: false }
    request.call = call
    releaseWithConnection(call, request, reply)
  }
  return (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void => {
    request.arrivedAt = performance.now()
    startSpan(request, reply)
    let credential: string | undefined
    let identity: Identity | undefined
    try {
      credential = credentialOf(request.headers)
      identity = credential === undefined ? undefined : auth.writeKey(credential)
      if (identity) admit(request, reply, identity)
    } catch (error) {
      done(error as Error)
      return
    }
    if (identity) done()
    else {
      auth
        .authenticate(credential)
        .then(known => admit(request, reply, known))
        .then(() => done(), done)
    }
  }
}

export const release = ({ lease }: Call): void => lease.release()

/** What came last on each connection of HTTP/1.1. */
const latest = new WeakMap<Socket, Call>()

/**
 * Until the handler has it, a lease ends with the connection: a body may never arrive. One listener serves all requests
 * of a connection of HTTP/1.1, on which bodies arrive one behind the other.
 */
function releaseWithConnection(call: Call, { raw }: FastifyRequest, reply: FastifyReply): void {
  const { socket } = raw
  const before = raw.httpVersionMajor === 1 ? latest.get(socket) : undefined
  const close = (given: Call | undefined) => given && !given.handled && release(given)
  if (raw.httpVersionMajor !== 1 || before?.handled === false) reply.raw.on('close', () => close(call))
  else {
    latest.set(socket, call)
    if (!before) socket.once('close', () => close(latest.get(socket)))
  }
}

function startSpan(request: FastifyRequest, reply: FastifyReply): void {
  const { traceparent: value } = request.headers
  const parent = typeof value === 'string' ? parseTraceparent(value) : undefined
  const span = spans.startSpan(
    'POST /v1/events',
    { kind: SpanKind.SERVER },
    parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT,
  )
  // Without an exporter the span has the caller's own context, or none.
  const context = span.spanContext()
  request.span = span
  request.traceparent = trace.isSpanContextValid(context) ? traceparent(context) : traceparent()
  reply.header('traceparent', request.traceparent)
}

function idempotencyKeyOf(value: string | string[] | undefined): string | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string' && IDEMPOTENCY_KEY.test(value)) return value
  throw new Problem('invalid_header', 'Idempotency-Key must have 1 to 255 visible ASCII characters and no blank')
}
