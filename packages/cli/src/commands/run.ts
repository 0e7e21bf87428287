import { createAuth } from '@weft/auth'
import { Health, logger, ops, processMetrics, publishMetrics, startTracing } from '@weft/telemetry'
import { Argument, type Command } from 'commander'
import type { Config, LoadOptions } from '../config.ts'
import { catalogueOf, folderOf, openLog, shared } from '../connect.ts'
import { diskFull, occupy, writableFolder } from '../data-folder.ts'
import { developmentSecret } from '../dev-secret.ts'
import { EXIT, Exit } from '../exit.ts'
import { interruption } from '../interrupt.ts'
import { print, printJson } from '../output.ts'
import { portNumber } from '../port.ts'
import { alertsApi, type Ground, gateway, loadWithRules, pipeline } from '../services.ts'

const SERVICES = ['ingest-gw', 'pipeline', 'alerts-api'] as const
type Service = (typeof SERVICES)[number]

export function run(program: Command): void {
  program
    .command('run')
    .summary('run one service as a process of its own')
    .description('Runs one service over the log until SIGTERM or Ctrl-C. Several of each may share a log.')
    .addArgument(new Argument('<service>').choices(SERVICES))
    .option(
      '--port <port>',
      'of alerts-api, of ingest-gw over HTTP (the next one is HTTPS) or of the metrics of pipeline; 0 takes free ones',
      portNumber,
    )
    .option('--demo-keys', 'accept the demo write keys and the secret of "weft dev", on this machine only')
    .addHelpText(
      'after',
      `
Examples:
  weft run pipeline --log embedded:/var/weft
  weft run pipeline --log kafka://kafka-1:9092,kafka-2:9092 --registry http://registry:8081
  WEFT_JWT_SECRET=… weft run alerts-api
  weft run ingest-gw --demo-keys
  weft run ingest-gw --demo-keys --port 8071`,
    )
    .action(async (service: Service, { demoKeys, port }: Options, command: Command) => {
      const { json, log, registry, config: file } = shared(command)
      const load = { file, log, registry }
      const config = await loadWithRules(load)
      const folder = folderOf(config.log)
      if (folder !== undefined) await writableFolder(folder, config.leastFreeBytes)
      await serve(service, { config: onPort(config, port), load, folder, demoKeys: !!demoKeys, json: !!json })
    })
}

interface Options {
  readonly demoKeys?: boolean
  readonly port?: number
}

/** Each service listens at its own; the others' do not matter to its process. */
function onPort(config: Config, port: number | undefined): Config {
  if (port === undefined) return config
  const gateway = { ...config.gateway, httpPort: port, port: port === 0 ? 0 : port + 1 }
  const [pipeline, alerts] = [
    { ...config.pipeline, opsPort: port },
    { ...config.alerts, port },
  ]
  return { ...config, gateway, pipeline, alerts }
}

interface Setup {
  readonly config: Config
  readonly load: LoadOptions
  readonly folder: string | undefined
  readonly demoKeys: boolean
  readonly json: boolean
}

async function serve(service: Service, { config, load, folder, demoKeys, json }: Setup): Promise<void> {
  using stop = interruption()
  await using stack = new AsyncDisposableStack()
  stack.use(await occupy(folder))
  const log = logger(service)
  const tracing = await startTracing(`weft-${service}`)
  if (tracing) stack.use(tracing)
  processMetrics()
  const catalogue = await catalogueOf(config)
  const auth = await credentials(config, service, demoKeys)
  const transport = stack.use(
    await openLog(config, catalogue, { clientId: `${service}-${process.pid}`, purpose: 'service' }),
  )
  for (const difference of await transport.admin.ensure(catalogue.specs())) log.warn(difference)
  const ground = { config, transport, catalogue, health: new Health(), auth }
  const { done, places } = await started(service, ground, load, stack)
  const onError = (err: unknown) => log.warn({ err }, 'metrics could not be appended')
  stack.use(publishMetrics(transport, catalogue, service, { onError }))
  if (json) await printJson({ service, ...places })
  else for (const [name, place] of Object.entries(places)) await print(`${service} ${name}: ${place}`)
  await Promise.race([stop.stopped, done, diskFull(folder, config.leastFreeBytes, stop.signal)])
  await stack.disposeAsync()
}

interface Started {
  readonly done: Promise<void>
  readonly places: Readonly<Record<string, string>>
}

const NEVER = new Promise<void>(() => {})

async function started(
  service: Service,
  ground: Ground,
  load: LoadOptions,
  stack: AsyncDisposableStack,
): Promise<Started> {
  if (service === 'alerts-api') {
    const { url } = stack.use(await alertsApi(ground))
    return { done: NEVER, places: { dashboard: url, reference: `${url}/reference`, metrics: `${url}/metrics` } }
  }
  if (service === 'ingest-gw') {
    const { urls } = stack.use(await gateway(ground))
    const places = Object.fromEntries(urls.map(url => [new URL(url).protocol.slice(0, -1), `${url}/v1/events`]))
    return { done: NEVER, places }
  }
  const { done } = stack.use(await pipeline(ground, load))
  const { fastify } = await import('fastify')
  const app = fastify({ forceCloseConnections: true })
  await app.register(ops, { health: ground.health })
  stack.defer(() => app.close())
  const url = await app.listen({ host: '127.0.0.1', port: ground.config.pipeline.opsPort })
  return { done, places: { metrics: `${url}/metrics`, readiness: `${url}/readyz` } }
}

async function credentials(config: Config, service: Service, demoKeys: boolean) {
  const { publicKeyFile, jwksUrl, issuer, audience, algorithms } = config.auth.jwt
  const writeKeys: Record<string, string> = { ...config.writeKeys }
  let secret = config.jwtSecret
  if (demoKeys) {
    for (const { host } of [config.gateway, config.alerts])
      if (!/^(localhost|127\.|::1$)/.test(host))
        throw new Exit(EXIT.usage, `--demo-keys is for this machine only, and ${host} can be reached from others`)
    const { DEMO_KEYS } = await import('@weft/local')
    for (const [tenant, key] of Object.entries(DEMO_KEYS)) writeKeys[key] = tenant
    secret ??= await developmentSecret(config)
  }
  const { readFile } = await import('node:fs/promises')
  const path = await import('node:path')
  const publicKey = publicKeyFile && (await readFile(path.resolve(config.base, publicKeyFile), 'utf8'))
  const hasToken = secret || publicKey || jwksUrl
  const hasKeys = Object.keys(writeKeys).length > 0
  if (service === 'ingest-gw' && !hasToken && !hasKeys)
    throw new Exit(
      EXIT.usage,
      'nobody could send events: set WEFT_WRITE_KEYS (key=tenant,…) or auth.jwt, or give --demo-keys',
    )
  if (service === 'alerts-api' && !hasToken)
    throw new Exit(EXIT.usage, 'nobody could read alerts: set WEFT_JWT_SECRET or auth.jwt.jwksUrl, or give --demo-keys')
  const jwt = {
    ...(secret && { secret }),
    ...(publicKey && { publicKey }),
    ...(jwksUrl && { jwksUrl }),
    ...(issuer && { issuer }),
    ...(audience && { audience }),
    ...(algorithms && { algorithms }),
  }
  try {
    return createAuth({ writeKeys, ...(hasToken && { jwt }) })
  } catch (error) {
    throw new Exit(EXIT.usage, `wrong configuration of auth:\n  ${(error as Error).message.replaceAll('\n', '\n  ')}`)
  }
}
