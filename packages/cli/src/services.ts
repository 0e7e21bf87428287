import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Auth } from '@weft/auth'
import type { Catalogue } from '@weft/schema'
import { type Health, logger } from '@weft/telemetry'
import type { Transport } from '@weft/transport'
import { type Config, type LoadOptions, loadConfig } from './config.ts'
import { liveRules } from './rules.ts'
import { gatewayFolder, spoolOf } from './spool-settings.ts'

/** What every service of a process shares. */
export interface Ground {
  readonly config: Config
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly health: Health
  readonly auth: Auth
}

/** The configuration with its alert rules checked, which only those need who run the pipeline. */
export async function loadWithRules(load: LoadOptions): Promise<Config> {
  const { parseRules } = await import('@weft/pipeline')
  return loadConfig({ ...load, checkRules: parseRules })
}

/** The same; where there is no file, with the rules of the project's own. */
export async function loadForDevelopment(load: LoadOptions): Promise<Config> {
  const config = await loadWithRules(load)
  if (config.file !== undefined || config.rules !== undefined) return config
  const { rules } = await loadConfig({ file: fileURLToPath(new URL('../../../weft.yaml', import.meta.url)), env: {} })
  return { ...config, ...(rules && { rules }) }
}

/** The pipeline with the alert rules of the file, which it follows. Without a webhook, deliveries are log lines of a level. */
export async function pipeline(
  { config, transport, catalogue, health }: Ground,
  load: LoadOptions,
  { deliveries = 'info' }: { deliveries?: 'info' | 'debug' } = {},
) {
  const { defaultModel, loadScorer, parseRules, startPipeline, toLog, toWebhook } = await import('@weft/pipeline')
  const { tasks, modelFile, tickMs, graceMs, interventions, webhook } = config.pipeline
  const log = logger('pipeline')
  await using stack = new AsyncDisposableStack()
  const scorer = stack.use(
    await loadScorer(modelFile === undefined ? defaultModel : path.resolve(config.base, modelFile)),
  )
  const rules = stack.use(liveRules(config, { parse: parseRules, load: { ...load, checkRules: parseRules }, log }))
  const started = stack.use(
    await startPipeline({
      transport,
      catalogue,
      health,
      log,
      scorer,
      rules: rules.current,
      ...(tasks && { tasks }),
      ...(tickMs && { tickMs }),
      ...(graceMs && { graceMs }),
      ...(interventions && { interventions }),
      deliver: webhook ? toWebhook(webhook) : toLog({ info: (details, message) => log[deliveries](details, message) }),
    }),
  )
  const owned = stack.move()
  return { done: started.done, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Where it listens, when the configuration's own ports do not count. */
export interface Ports {
  readonly port: number
  readonly httpPort?: number
}

/** The gateway for events, over HTTPS and where it may over HTTP. */
export async function gateway({ config, transport, catalogue, health, auth }: Ground, ports: Ports = config.gateway) {
  const { startGateway } = await import('@weft/ingest-gw')
  const { host, tls, plainHttpAnywhere, maxBodyBytes, maxInFlightBytes, rate, tenants, corsOrigins } = config.gateway
  const { duplicateWindowMs, publicOps, redis } = config.gateway
  const spool = spoolOf(config)
  const certificate = tls && (await certificateOf(config, tls))
  const isLoopback = /^(localhost|127\.|::1$)/.test(host)
  return startGateway({
    transport,
    catalogue,
    auth,
    health,
    log: logger('ingest-gw'),
    directory: gatewayFolder(config),
    http: isLoopback || plainHttpAnywhere ? { host, port: ports.httpPort ?? config.gateway.httpPort } : false,
    allowInsecureHttp: plainHttpAnywhere,
    publicOps,
    https: { host, port: ports.port, ...(certificate && { certificate }) },
    ...(corsOrigins && { cors: { origin: corsOrigins } }),
    limits: {
      ...(maxBodyBytes && { maxBodyBytes }),
      ...(maxInFlightBytes && { maxInFlightBytes }),
      ...(rate && { rate }),
      ...(tenants && { tenants }),
    },
    ...(duplicateWindowMs && { duplicateWindowMs }),
    ...(spool && { spool }),
    ...(redis && { redis: { url: redis } }),
  })
}

/** Alerts over SSE, WebSocket and REST, and the dashboard. */
export async function alertsApi(
  { config, transport, catalogue, health, auth }: Ground,
  { port = config.alerts.port, devToken }: { port?: number; devToken?: () => Promise<string> } = {},
) {
  const { startAlertsApi } = await import('@weft/alerts-api')
  const { host, tls, connectionsPerTenant, slow, corsOrigins } = config.alerts
  const certificate = tls && (await certificateOf(config, tls))
  return startAlertsApi({
    transport,
    catalogue,
    auth,
    health,
    log: logger('alerts-api'),
    host,
    port,
    ...(certificate && { tls: certificate }),
    ...(connectionsPerTenant && { connectionsPerTenant }),
    ...(slow && { slow }),
    ...(corsOrigins && { corsOrigins }),
    ...(devToken && { devToken }),
  })
}

async function certificateOf({ base }: Config, { certFile, keyFile }: { certFile: string; keyFile: string }) {
  const [cert, key] = await Promise.all([certFile, keyFile].map(file => readFile(path.resolve(base, file))))
  return { cert: cert as Buffer, key: key as Buffer }
}
