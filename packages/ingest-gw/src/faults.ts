import type { Socket } from 'node:net'
import { AuthError } from '@weft/auth'
import { WeftError } from '@weft/transport'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ENCODINGS } from './body.ts'
import { seconds } from './limits.ts'
import { problems } from './metrics.ts'
import { PROBLEMS, Problem, type ProblemBody } from './problem.ts'

export interface FaultLog {
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/**
 * Tells a failed append as a Problem: log_unavailable when a retry can help, with a wait that grows with how long the
 * log has been failing. `ok` ends that.
 */
export function logFaults(log: FaultLog | undefined) {
  let since: number | undefined
  return {
    get failing(): boolean {
      return since !== undefined
    },
    ok(): void {
      since = undefined
    },
    of(error?: unknown): Error {
      const closed = error instanceof WeftError && error.code === 'CLOSED'
      if (closed) return new Problem('shutting_down', 'this process is going away', { retryAfter: 1 })
      if (error !== undefined) {
        if (since === undefined) log?.warn({ err: error }, 'the log does not take events')
        since ??= performance.now()
        const tooLarge = error instanceof WeftError && error.code === 'TOO_LARGE'
        if (tooLarge) return new Problem('event_too_large', 'an event is larger than the log takes', { cause: error })
        if (!(error instanceof WeftError && (error.retryable || error.code === 'NOT_FOUND'))) return error as Error
      }
      const failing = since === undefined ? 0 : (performance.now() - since) / 1000
      return new Problem(
        'log_unavailable',
        'the log cannot take events at the moment; nothing is promised to be stored',
        {
          retryAfter: seconds(failing / 2),
          cause: error,
        },
      )
    },
  }
}

export type LogFaults = ReturnType<typeof logFaults>

/** Answers whatever was thrown. Clients get what was made for them; anything else is logged and told as internal. */
export function faultHandler(log: FaultLog | undefined) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const fault = error instanceof AuthError ? error : problemOf(error)
    const { code, status } = fault
    if (code === 'internal') {
      log?.error({ err: error, url: request.url, traceparent: request.traceparent }, 'a request failed')
      request.span?.recordException(error as Error)
    }
    problems.inc({ code })
    // Fastify closes the connection behind a body that is too large; HTTP/2 has no such header.
    if (request.raw.httpVersionMajor === 2) reply.removeHeader('connection')
    if (status === 401) reply.header('www-authenticate', 'Bearer realm="weft"')
    if (code === 'unsupported_encoding') reply.header('accept-encoding', ENCODINGS)
    if (code === 'unsupported_media_type') reply.header('accept-post', 'application/json, application/x-ndjson')
    const retryAfter = fault instanceof Problem ? fault.retryAfter : undefined
    if (status === 429 || status === 503) reply.header('retry-after', retryAfter ?? 1)
    else if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
    const body = fault instanceof Problem ? fault.body : { code, message: fault.message, retryable: fault.retryable }
    reply
      .code(status)
      .header('content-type', 'application/json; charset=utf-8')
      .send(JSON.stringify({ error: body satisfies ProblemBody }))
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new Problem('body_too_large', 'the body is over the limit')
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH' || code === 'ECONNRESET')
    return new Problem('invalid_request', 'the body is not as long as Content-Length says')
  // Fastify's own faults of 4xx are about the request; their texts are about Fastify.
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 && String(code).startsWith('FST_'))
    return new Problem('invalid_request', 'the request is not valid HTTP for this path')
  return new Problem('internal', 'a fault of ours; the traceparent of this answer finds it in the log', {
    cause: error,
  })
}

/** Answers bytes that are no HTTP/1.1 request, and requests that did not arrive in time. */
export function clientErrorHandler(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy()
  const code =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'headers_too_large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request_timeout'
        : 'invalid_request'
  const { status, meaning, retryable } = PROBLEMS[code]
  const body = JSON.stringify({ error: { code, message: meaning, retryable } })
  const head = `HTTP/1.1 ${status} ${code}\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8`
  socket.end(`${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}
