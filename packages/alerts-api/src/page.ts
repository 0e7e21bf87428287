import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type Admission, one, type Query } from './admission.ts'
import type { AlertLog } from './alert-log.ts'
import { type Filter, parseFilter } from './filter.ts'
import { filterParameters, pageAnswers, pageParameters, startParameters } from './openapi.ts'
import { Pursuit } from './pursuit.ts'
import { Refusal } from './refusal.ts'
import type { Start, Starts } from './starts.ts'
import type { Tape } from './tape.ts'

const MAX_LIMIT = 1_000
const MAX_WAIT_S = 30
/** A narrow filter over a long log may find nothing for long: then the page ends early, and the next goes on. */
const SCAN_MS = 5_000
const PULL_BYTES = 256 * 1024

/** `GET /v1/alerts`: a page of alerts, with the cursor to go on from, here or over a stream. */
export function alertPages(
  app: FastifyInstance,
  { admission, starts, tape, log }: { admission: Admission; starts: Starts; tape: Tape; log: AlertLog },
): void {
  const schema = {
    operationId: 'listAlerts',
    tags: ['alerts'],
    summary: 'A page of alerts after a cursor',
    querystring: {
      type: 'object',
      properties: { ...startParameters('earliest'), ...pageParameters, ...filterParameters },
    },
    response: pageAnswers,
  }
  app.get('/v1/alerts', { schema }, async (request, reply) => {
    const query = request.query as Query
    const identity = await admission.identify(request.headers.authorization, query)
    const filter = parseFilter(query, admission.tenant(identity, query))
    const limit = numberOf(query, 'limit', 100, 1, MAX_LIMIT)
    const waitMs = 1_000 * numberOf(query, 'wait', 0, 0, MAX_WAIT_S)
    const start = await starts.of(query, undefined, 'earliest')
    reply.header('cache-control', 'no-store').type('application/json')
    if (waitMs === 0) return collect(start, filter, limit, waitMs, request.raw.socket)
    admission.take(identity.tenant)
    try {
      return await collect(start, filter, limit, waitMs, request.raw.socket)
    } finally {
      admission.release(identity.tenant)
    }
  })

  async function collect(start: Start, filter: Filter, limit: number, waitMs: number, socket: Socket): Promise<string> {
    const pursuit = new Pursuit(tape, (after, signal) => log.replay(after, signal), filter, start.vector)
    const over = Promise.withResolvers<void>()
    let isOver = false
    const stop = () => {
      isOver = true
      pursuit.stop()
      over.resolve()
    }
    const timer = setTimeout(stop, waitMs || SCAN_MS)
    socket.once('close', stop)
    const alerts: string[] = []
    let cursor: string | undefined
    let { reset } = start
    try {
      while (!isOver && cursor === undefined) {
        if (pursuit.caughtUp) {
          if (alerts.length > 0 || waitMs === 0) break
          await Promise.race([tape.marked, over.promise])
        }
        try {
          for (const piece of await pursuit.pull(PULL_BYTES)) {
            if (alerts.length === limit) break
            alerts.push(piece.frame.json.toString())
            if (alerts.length === limit) cursor = piece.cursor ?? piece.frame.cursor
          }
        } catch (error) {
          const gap = await starts.afterGap(error, pursuit.vector)
          // Told with the page that begins behind it, so that no page has alerts of both sides.
          if (alerts.length > 0) break
          pursuit.skipTo(gap.vector)
          reset = gap.reset
        }
      }
    } finally {
      clearTimeout(timer)
      socket.off('close', stop)
      pursuit.stop()
    }
    const more = cursor !== undefined || !pursuit.caughtUp
    const told = reset ? `,"reset":${JSON.stringify(reset)}` : ''
    return `{"alerts":[${alerts.join(',')}],"cursor":"${cursor ?? pursuit.cursor}","more":${more}${told}}`
  }
}

function numberOf(query: Query, name: string, otherwise: number, least: number, most: number): number {
  const text = one(query, name)
  if (text === undefined || text === '') return otherwise
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most))
    throw new Refusal('invalid_request', `${name} must be a whole number from ${least} to ${most}`)
  return value
}
