import cors, { type FastifyCorsOptions } from '@fastify/cors'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { type Health, ops } from '@weft/telemetry'
import Fastify, { type FastifyInstance, type onRequestHookHandler } from 'fastify'
import { type AdmissionOptions, admission, release } from './admission.ts'
import type { Certificate } from './certificate.ts'
import { type EventsRoute, eventsHandler } from './events-route.ts'
import { clientErrorHandler, type FaultLog, faultHandler } from './faults.ts'
import { requestSeconds } from './metrics.ts'
import type { OpenApi } from './openapi.ts'
import { Problem } from './problem.ts'

export interface ListenerOptions extends AdmissionOptions, EventsRoute {
  readonly openapi: OpenApi
  readonly cors: FastifyCorsOptions | false
  readonly health: Health | undefined
  readonly log: FaultLog | undefined
  readonly requestTimeoutMs: number
  /** HTTPS with HTTP/2 and HTTP/1.1; plain HTTP/1.1 without. */
  readonly certificate?: Certificate
}

/** One listener's routes, not yet listening. */
export async function buildListener(options: ListenerOptions): Promise<FastifyInstance> {
  const { certificate, maxBodyBytes, requestTimeoutMs } = options
  const common = {
    bodyLimit: maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: 0,
    keepAliveTimeout: 72_000,
    // What is on an open connection when the process goes away is still answered, with Connection: close.
    return503OnClosing: false,
    forceCloseConnections: 'idle' as const,
    exposeHeadRoutes: false,
    clientErrorHandler,
    frameworkErrors: faultHandler(options.log) as never,
  }
  // Node takes the larger of the two for the whole request, so the headers' must be told as well.
  const timeouts = {
    requestTimeout: requestTimeoutMs,
    headersTimeout: requestTimeoutMs,
    connectionsCheckingInterval: Math.min(5000, requestTimeoutMs),
  }
  const https = { allowHTTP1: true, ...timeouts, ...certificate }
  const app = (certificate
    ? Fastify({ ...common, http2: true, http2SessionTimeout: 72_000, https })
    : Fastify({ ...common, http: timeouts })) as unknown as FastifyInstance

  app.decorateRequest('call', undefined)
  app.decorateRequest('arrivedAt', 0)
  app.decorateRequest('traceparent', '')
  app.decorateRequest('span', undefined)
  app.setErrorHandler(faultHandler(options.log))
  const allow = options.cors === false ? 'POST' : 'POST, OPTIONS'
  app.setNotFoundHandler((request, reply) => {
    if (request.url.split('?', 1)[0] !== '/v1/events')
      throw new Problem('not_found', 'there is nothing at this path: events are sent by POST to /v1/events')
    reply.header('allow', allow)
    throw new Problem('method_not_allowed', 'events are sent by POST')
  })
  // The handler decompresses and parses: a body is bytes until then.
  app.removeAllContentTypeParsers()
  for (const type of ['application/json', 'application/x-ndjson', '*'])
    app.addContentTypeParser(type, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  if (options.cors !== false)
    cors(withOrigin(app), options.cors, fault => {
      if (fault) throw fault
    })
  if (options.health) await app.register(ops, { health: options.health })

  const measured = new Map<number, { observe(value: number): void }>()
  app.post('/v1/events', {
    onRequest: admission(options),
    // Not onResponse: that adds a listener to each response, and V8, having seen such lists of listeners grow old with
    // the sockets, puts them where only a full collection frees them, with all of the request that they hold.
    onSend: (request, reply, _payload, done) => {
      if (request.call?.handled === false) release(request.call)
      const { statusCode } = reply
      let child = measured.get(statusCode)
      if (!child) {
        child = requestSeconds.labels(String(statusCode))
        measured.set(statusCode, child)
      }
      child.observe((performance.now() - request.arrivedAt) / 1000)
      request.span?.setAttribute('http.response.status_code', statusCode)
      request.span?.end()
      done()
    },
    handler: eventsHandler(options),
  })
  await describe(app, options.openapi)
  return app
}

/**
 * The application as the CORS plugin is to see it, so that its hook runs for pages only: whoever sends no Origin is no
 * page, and is spared the headers.
 */
const withOrigin = (app: FastifyInstance): FastifyInstance =>
  Object.create(app, {
    addHook: {
      value: (name: 'onRequest', hook: onRequestHookHandler) =>
        app.addHook(name, function (request, reply, done) {
          if (request.headers.origin === undefined && request.method !== 'OPTIONS') done()
          else hook.call(this, request, reply, done)
        }),
    },
  })

async function describe(app: FastifyInstance, openapi: OpenApi): Promise<void> {
  const text = JSON.stringify(openapi)
  app.get('/openapi.json', (_request, reply) => {
    reply
      .header('content-type', 'application/json; charset=utf-8')
      .header('access-control-allow-origin', '*')
      .send(text)
  })
  await app.register(swagger, { mode: 'static', specification: { document: openapi as never } })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, uiConfig: { deepLinking: true } })
}
