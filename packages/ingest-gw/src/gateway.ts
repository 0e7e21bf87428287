import { mkdir } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import type { FastifyCorsOptions } from '@fastify/cors'
import type { Auth } from '@weft/auth'
import type { Catalogue } from '@weft/schema'
import type { Health } from '@weft/telemetry'
import type { Transport } from '@weft/transport'
import type { FastifyInstance } from 'fastify'
import { Appender } from './appender.ts'
import type { BodyLimits } from './body.ts'
import { type Certificate, developmentCertificate } from './certificate.ts'
import { type EventChecks, eventChecker } from './event.ts'
import { type FaultLog, logFaults } from './faults.ts'
import { IdempotencyKeys } from './idempotency.ts'
import { InFlight, type Rate, RateLimit } from './limits.ts'
import { buildListener } from './listener.ts'
import { openLogIndex } from './log-index.ts'
import { observeInFlight } from './metrics.ts'
import { openApi } from './openapi.ts'
import type { SharedSettings } from './shared/connection.ts'
import { openSpooledLog, type SpoolSettings } from './spool/open.ts'

export interface Address {
  readonly host?: string
  /** 0: any that is free. */
  readonly port?: number
}

export interface GatewayOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly auth: Auth
  /** Of the gateway's own: the index of event ids, and the certificate for development. */
  readonly directory: string
  readonly health?: Health
  readonly log?: FaultLog & { info(details: object, message: string): void }
  /** Plain HTTP/1.1. Default 127.0.0.1:7071; false for none. */
  readonly http?: Address | false
  /** Plain HTTP elsewhere than on loopback: write keys then cross the network unencrypted. Default false. */
  readonly allowInsecureHttp?: boolean
  /** HTTP/2 and HTTP/1.1 over TLS. Default 127.0.0.1:7072, with a generated certificate; false for none. */
  readonly https?: (Address & { readonly certificate?: Certificate }) | false
  /** Also give /metrics, /healthz and /readyz where others than this machine can reach them. Default false. */
  readonly publicOps?: boolean
  /** Which pages may send from a browser. Default: any, as a tracker needs; credentials never come from cookies. */
  readonly cors?: FastifyCorsOptions | false
  readonly limits?: BodyLimits & {
    /** Bytes of an encoded event. Default 64 KiB. */
    readonly maxEventBytes?: number
    /** Per tenant. Default 50,000 events a second, 100,000 at once. */
    readonly rate?: Rate
    /** For tenants that have a rate of their own. */
    readonly tenants?: Readonly<Record<string, Rate>>
    /** Bytes of bodies in memory. Default 64 MiB. */
    readonly maxInFlightBytes?: number
    /** Of one tenant. Default: no bound but its fair share. */
    readonly maxTenantInFlightBytes?: number
    /** For the whole of a request to arrive. Default 30 s. */
    readonly requestTimeoutMs?: number
  }
  /** Where events wait while the log does not take them. Default: nowhere, they are refused. */
  readonly spool?: SpoolSettings
  /** Through which several gateways share event ids and Idempotency-Keys. Default: each knows its own, and the log. */
  readonly redis?: SharedSettings
  readonly checks?: EventChecks
  /** How long an event id, or an Idempotency-Key, is known as used. Default 24 h. */
  readonly duplicateWindowMs?: number
  readonly signal?: AbortSignal
}

export interface Gateway extends AsyncDisposable {
  /** Without a path, such as http://127.0.0.1:7071; in the order https, http. */
  readonly urls: readonly string[]
  readonly http: string | undefined
  readonly https: string | undefined
  /** In PEM: what a client has to trust if it was generated. */
  readonly certificate: string | undefined
}

/**
 * Starts the gateway; resolves when it listens. The topic events.raw.v1 must exist. Disposing it stops accepting,
 * answers what is in flight, and then lets go of the log. Throws one sentence for a port in use and for addresses that
 * are not allowed.
 */
export async function startGateway({
  transport,
  catalogue,
  auth,
  directory,
  health,
  log,
  http = {},
  allowInsecureHttp = false,
  https = {},
  publicOps = false,
  cors = {},
  limits = {},
  spool,
  redis,
  checks = {},
  duplicateWindowMs = 86_400_000,
  signal,
}: GatewayOptions): Promise<Gateway> {
  const {
    maxBodyBytes = 1 << 20,
    maxDecodedBytes = 4 << 20,
    maxEvents = 1000,
    maxEventBytes = 64 << 10,
    rate = { rate: 50_000, burst: 100_000 },
    tenants = {},
    maxInFlightBytes = 64 << 20,
    maxTenantInFlightBytes = maxInFlightBytes,
    requestTimeoutMs = 30_000,
  } = limits
  if (http && !allowInsecureHttp && !isLoopback(http.host))
    throw new Error(`plain HTTP on ${http.host} would send write keys unencrypted: use HTTPS, or allowInsecureHttp`)
  if (!http && !https) throw new Error('the gateway has nothing to listen on: give it http or https')

  // While its young generation is still small, V8 sees most of what a request makes outlive a scavenge, since requests wait
  // for the log, and then makes such objects old ones for good, each of which keeps its request until a full collection.
  setFlagsFromString('--no-allocation-site-pretenuring')
  await using started = new AsyncDisposableStack()
  await mkdir(directory, { recursive: true })
  const topic = { name: 'events.raw.v1' }
  const index = started.use(
    await openLogIndex({
      transport,
      catalogue,
      topic,
      directory: join(directory, 'index'),
      windowMs: duplicateWindowMs,
      ...(log && { log }),
      ...(signal && { signal }),
    }),
  )
  const idempotency = started.use(new IdempotencyKeys(index.environment, duplicateWindowMs))
  const windowMs = duplicateWindowMs
  const own = { ids: index, keys: idempotency, cluster: transport.cluster, windowMs, ...(log && { log }) }
  const several = redis && started.use(await (await import('./shared/open.ts')).openShared({ ...redis, ...own }))
  const faults = logFaults(log)
  let closing = false
  const forget = health?.add('ingest-gw', () => {
    if (closing) return { ok: false, detail: 'shutting down' }
    const spooling = spooled?.probe()
    if (spooling) return spooling
    if (faults.failing) return { ok: false, detail: 'the log does not take events' }
    if (spooled && index.logFault) return { ok: true, detail: 'the log cannot be read; events would be spooled' }
    const check = index.probe()
    if (!redis || several?.isUp || !check.ok) return check
    return { ok: true, detail: `Redis does not answer: ids of other gateways are known from the log; ${check.detail}` }
  })
  started.defer(() => forget?.())
  const spooled =
    spool &&
    started.use(await openSpooledLog({ ...spool, transport, topic, index, onReplayed: faults.ok, ...(log && { log }) }))
  const appender = new Appender({ log: spooled ?? transport, topic, onAppended: faults.ok })
  started.defer(() => Promise.race([appender.idle(), delay(CLOSE_MS, undefined, { ref: false })]))
  const inFlight = new InFlight(maxInFlightBytes, maxTenantInFlightBytes, () => appender.drain.bytesPerSecond)
  started.use(observeInFlight(inFlight))
  const shared = {
    auth,
    catalogue,
    check: eventChecker(checks),
    seen: several?.ids ?? index,
    idempotency: several?.keys ?? idempotency,
    appender,
    rate: new RateLimit(rate, tenants),
    inFlight,
    maxBodyBytes,
    maxDecodedBytes,
    maxEvents,
    // Room for key, headers and the transport's own.
    maxEventBytes: Math.min(maxEventBytes, transport.guarantees.maxMessageBytes - 4096),
    logFault: faults.of,
    openapi: openApi({ maxBodyBytes, maxDecodedBytes, maxEvents, maxEventBytes }),
    cors: cors && { ...CORS, ...cors },
    log,
    requestTimeoutMs,
  }
  const listen = async (address: Address, port: number, certificate?: Certificate): Promise<string> => {
    const { host = '127.0.0.1' } = address
    const app = await buildListener({
      ...shared,
      health: publicOps || isLoopback(host) ? health : undefined,
      ...(certificate && { certificate }),
    })
    const sockets = new Set<Socket>()
    app.server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    started.defer(() => closed(app, sockets))
    const scheme = certificate ? 'https' : 'http'
    const url = await app.listen({ host, port: address.port ?? port }).catch(error => {
      throw listenFault(error, host, address.port ?? port)
    })
    return `${scheme}://${hostOf(host)}:${new URL(url).port}`
  }
  const certificate = https
    ? (https.certificate ?? (await developmentCertificate(join(directory, 'certificate'))))
    : undefined
  const urls = {
    https: https && certificate ? await listen(https, 7072, certificate) : undefined,
    http: http ? await listen(http, 7071) : undefined,
  }
  started.defer(() => {
    closing = true
  })
  const stack = started.move()
  return {
    ...urls,
    urls: [urls.https, urls.http].filter(url => url !== undefined),
    certificate: certificate && certificatesOf(String(certificate.cert)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const CORS: FastifyCorsOptions = {
  origin: '*',
  methods: ['POST'],
  allowedHeaders: [
    'authorization',
    'content-type',
    'content-encoding',
    'idempotency-key',
    'traceparent',
    'tracestate',
    'x-write-key',
  ],
  exposedHeaders: 'idempotency-replayed, retry-after, traceparent',
  maxAge: 7200,
}

/** After this an open connection, a client that stopped reading, or an append that hangs no longer holds up the end. */
const CLOSE_MS = 10_000

async function closed(app: FastifyInstance, sockets: ReadonlySet<Socket>): Promise<void> {
  // Closing ends what is idle at that moment; a connection that answers its last request later has to be ended later.
  const idle = setInterval(() => app.server.closeIdleConnections?.(), 50)
  const force = setTimeout(() => {
    for (const socket of sockets) socket.destroy()
  }, CLOSE_MS)
  try {
    await app.close()
  } finally {
    clearInterval(idle)
    clearTimeout(force)
  }
}

const isLoopback = (host = '127.0.0.1'): boolean => /^(localhost|127\.\d+\.\d+\.\d+|::1|\[::1\])$/.test(host)

const hostOf = (host: string): string => (host === '0.0.0.0' ? 'localhost' : host.includes(':') ? `[${host}]` : host)

function listenFault(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const why =
    error.code === 'EADDRINUSE'
      ? 'is in use: stop what uses it, or choose another port'
      : error.code === 'EACCES'
        ? 'may not be listened on by this user'
        : error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND'
          ? 'is no address of this machine'
          : `cannot be listened on (${error.code})`
  return new Error(`the gateway's address ${host}:${port} ${why}`, { cause: error })
}

/** Without the key, which stands in the same file. */
const certificatesOf = (pem: string): string =>
  (pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []).join('\n')
