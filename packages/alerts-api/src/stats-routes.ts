import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Admission, Query } from './admission.ts'
import { filterParameters, statsAnswers, statsStreamAnswers } from './openapi.ts'
import { openStream } from './sse.ts'
import type { Stats } from './stats.ts'

interface Scope {
  readonly tenant: string | undefined
  readonly whole: boolean
}

interface Viewer {
  readonly response: ServerResponse
  readonly scope: string
  readonly expiresAt: number
}

/** A viewer that does not take the numbers is given none until it does; cut off when this much waits. */
const MAX_WAITING_BYTES = 256 * 1024

/** `GET /v1/stats`, and the same once a second as server-sent events. Returns what ends the streams. */
export function statsRoutes(
  app: FastifyInstance,
  { admission, stats, everyMs }: { admission: Admission; stats: Stats; everyMs: number },
): () => void {
  const viewers = new Set<Viewer>()
  const timer = setInterval(show, everyMs).unref()
  const querystring = {
    type: 'object',
    properties: { tenant: filterParameters.tenant, access_token: filterParameters.access_token },
  }

  async function identify(request: FastifyRequest) {
    const query = request.query as Query
    const identity = await admission.identify(request.headers.authorization, query)
    const scope: Scope = { tenant: admission.tenant(identity, query), whole: identity.tenant === '*' }
    return { identity, scope }
  }

  app.get(
    '/v1/stats',
    {
      schema: {
        operationId: 'getStats',
        tags: ['stats'],
        summary: 'The numbers of the dashboard',
        querystring,
        response: statsAnswers,
      },
    },
    async (request, reply) => {
      const { scope } = await identify(request)
      return reply.header('cache-control', 'no-store').send(stats.of(scope.tenant, scope.whole))
    },
  )

  app.get(
    '/v1/stats/stream',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamStats',
        tags: ['stats'],
        summary: 'The same once a second, as server-sent events `stats`',
        querystring,
        response: statsStreamAnswers,
      },
    },
    async (request, reply) => {
      const { identity, scope } = await identify(request)
      admission.take(identity.tenant)
      const response = reply.raw
      const viewer: Viewer = {
        response,
        scope: JSON.stringify(scope),
        expiresAt: identity.expiresAt ?? Number.POSITIVE_INFINITY,
      }
      response.once('close', () => {
        viewers.delete(viewer)
        admission.release(identity.tenant)
      })
      openStream(reply)
      response.write(event(scope))
      viewers.add(viewer)
    },
  )

  const event = ({ tenant, whole }: Scope): string =>
    `event: stats\ndata: ${JSON.stringify(stats.of(tenant, whole))}\n\n`

  function show(): void {
    const now = Date.now()
    const events = new Map<string, string>()
    for (const { response, scope, expiresAt } of viewers) {
      if (expiresAt <= now) response.end('event: end\ndata: {"reason":"token_expired"}\n\n')
      else if (response.writableLength > MAX_WAITING_BYTES) response.destroy()
      else {
        const text = events.get(scope) ?? event(JSON.parse(scope) as Scope)
        events.set(scope, text)
        response.write(text)
      }
    }
  }

  return () => {
    clearInterval(timer)
    for (const { response } of viewers) response.end('retry: 2000\nevent: end\ndata: {"reason":"shutdown"}\n\n')
  }
}
