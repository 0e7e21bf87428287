import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import cors from '@fastify/cors'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { Auth } from '@weft/auth'
import type { Catalogue } from '@weft/schema'
import { type Health, logger, ops } from '@weft/telemetry'
import type { Transport } from '@weft/transport'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { Admission, type AdmissionOptions } from './admission.ts'
import { ALERTS, AlertLog } from './alert-log.ts'
import { dashboardFiles } from './dashboard-files.ts'
import { devTokens } from './dev-token.ts'
import { Fanout, type FanoutOptions } from './fanout.ts'
import { Listeners } from './listeners.ts'
import { refused } from './metrics.ts'
import { document } from './openapi.ts'
import { alertPages } from './page.ts'
import { asRefusal, Refusal } from './refusal.ts'
import { alertStream } from './sse.ts'
import { Starts } from './starts.ts'
import { Stats } from './stats.ts'
import { feedStats } from './stats-feed.ts'
import { statsRoutes } from './stats-routes.ts'
import { Sweep, type SweepOptions } from './sweep.ts'
import { Tape } from './tape.ts'
import { comparing, covers, toVector } from './vector.ts'
import { alertSocket, WEBSOCKET_PATH } from './websocket.ts'

export interface AlertsApiOptions extends AdmissionOptions, FanoutOptions, SweepOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly auth: Auth
  readonly health: Health
  readonly log?: Logger
  readonly host?: string
  /** 0 takes a free one. */
  readonly port?: number
  /** PEM. Without it plain HTTP, for loopback or behind a proxy. */
  readonly tls?: { readonly key: string | Buffer; readonly cert: string | Buffer }
  /** Origins whose pages may use the API, such as `https://shop.example`; `*` for any. */
  readonly corsOrigins?: readonly string[]
  /** Bytes of recent alerts kept in memory, and how far back they are read at start. */
  readonly ringBytes?: number
  readonly ringMs?: number
  /** Over this time clients are sent away at shutdown. Milliseconds. */
  readonly drainMs?: number
  readonly statsEveryMs?: number
  /** For development: makes the token that `/dev-token` hands to the dashboard on this machine. */
  readonly devToken?: () => Promise<string> | string
}

export interface AlertsApi extends AsyncDisposable {
  readonly url: string
}

/** A request that has not arrived in this time is not worth waiting for. */
const REQUEST_MS = 10_000
/** At start, what is read back into memory is waited for no longer than this. */
const READ_BACK_MS = 30_000
/** Red after this time without progress while there is something to read. */
const STALLED_MS = 10_000

/** Serves alerts over SSE, WebSocket and REST, and the dashboard. Listening when it resolves; disposing drains. */
export async function startAlertsApi({
  transport,
  catalogue,
  auth,
  health,
  log = logger('alerts-api'),
  host = '127.0.0.1',
  port = 7070,
  tls,
  corsOrigins = [],
  ringBytes = 32 * 1024 * 1024,
  ringMs = 300_000,
  drainMs = 3_000,
  retryMs = 2_000,
  statsEveryMs = 1_000,
  devToken,
  ...options
}: AlertsApiOptions): Promise<AlertsApi> {
  const stopping = new AbortController()
  const { signal } = stopping
  const compare = comparing(transport)
  const begin = toVector(await transport.admin.positions(ALERTS, { time: Date.now() - ringMs }))
  const tape = new Tape(transport.cluster, begin, compare, ringBytes)
  const stats = new Stats()
  const fanout = new Fanout(tape, { ...options, retryMs, onFrame: frame => stats.alert(frame) })
  const admission = new Admission(auth, options)
  const starts = new Starts(transport, ALERTS, tape)
  const alertLog = new AlertLog(transport, catalogue, log)
  const listeners = new Listeners({ fanout, log: alertLog, starts, admission, logger: log })
  const { channels } = fanout

  // Without a logger of its own: addresses carry tokens, since EventSource can set no header.
  const app: FastifyInstance = Fastify({
    forceCloseConnections: true,
    requestTimeout: REQUEST_MS,
    ...(tls && { https: tls }),
  })
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => JSON.stringify)
  app.setErrorHandler((error, request, reply) => {
    const refusal = asRefusal(error)
    refused.inc({ status: refusal.status })
    if (refusal.status >= 500)
      log.error({ err: refusal.cause ?? refusal, route: request.routeOptions.url }, 'a request failed')
    if (refusal.retryAfter !== undefined) reply.header('retry-after', refusal.retryAfter)
    return reply.code(refusal.status).header('cache-control', 'no-store').send(refusal.body)
  })
  app.setNotFoundHandler(() => {
    throw new Refusal('not_found', 'there is nothing at this path')
  })
  await app.register(cors, {
    origin: corsOrigins.includes('*') ? '*' : [...corsOrigins],
    exposedHeaders: ['retry-after'],
    allowedHeaders: ['authorization', 'last-event-id'],
    maxAge: 3_600,
  })
  await app.register(swagger, { openapi: document })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, uiConfig: { deepLinking: true } })
  await app.register(ops, { health })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  app.get(WEBSOCKET_PATH, { schema: { hide: true } }, async () => {
    throw new Refusal('upgrade_required', 'this path speaks WebSocket: ask for an upgrade')
  })
  alertStream(app, { admission, starts, channels, listeners, retryMs })
  alertPages(app, { admission, starts, tape, log: alertLog })
  const endStats = statsRoutes(app, { admission, stats, everyMs: statsEveryMs })
  if (devToken) devTokens(app, devToken)
  await dashboardFiles(app)
  alertSocket(app.server as Server, { admission, starts, channels, listeners, isAllowedOrigin })

  const reached = Promise.withResolvers<void>()
  const now = toVector((await transport.admin.describe(ALERTS)).end)
  const following = alertLog.follow(fanout, starts, signal, { end: now, onReached: reached.resolve })
  const feeding = feedStats(stats, begin, { transport, catalogue, log, signal })
  await caughtUp()
  const sweep = new Sweep(fanout, options)
  const forget = health.add('alerts-api', progress())
  await app.listen({ host, port }).catch(async error => {
    await end()
    throw error
  })
  const address = app.server.address() as AddressInfo
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address

  return { url: `${tls ? 'https' : 'http'}://${name}:${address.port}`, [Symbol.asyncDispose]: end }

  async function end(): Promise<void> {
    admission.close()
    app.server.close()
    endStats()
    await listeners.drain(drainMs)
    forget()
    sweep.stop()
    stopping.abort()
    await Promise.all([following, feeding])
    fanout.stop()
    await app.close()
  }

  function isAllowedOrigin(origin: string, host: string | undefined): boolean {
    if (corsOrigins.includes('*') || corsOrigins.includes(origin)) return true
    return URL.canParse(origin) && new URL(origin).host === host
  }

  /** Waits until what was there at the start is in the ring, so that "latest" means latest. */
  async function caughtUp(): Promise<void> {
    const late = AbortSignal.timeout(READ_BACK_MS)
    const over = new Promise<void>(resolve => late.addEventListener('abort', () => resolve()))
    await Promise.race([reached.promise, over])
    if (late.aborted)
      log.warn('there are so many recent alerts that clients are let in while they are still being read')
  }

  function progress() {
    let last = { cursor: '', at: Date.now() }
    return async () => {
      const { cursor, vector } = tape.mark
      const end = toVector((await transport.admin.describe(ALERTS)).end)
      if (cursor !== last.cursor || covers(vector, end, compare)) last = { cursor, at: Date.now() }
      const idleMs = Date.now() - last.at
      return idleMs < STALLED_MS || !(await alertLog.holds(vector, end))
        ? { ok: true }
        : {
            ok: false,
            fatal: true,
            detail: `no alert was read for ${Math.round(idleMs / 1000)} s though there are some`,
          }
    }
  }
}
