import { styleText } from 'node:util'
import { createAuth, signToken } from '@weft/auth'
import { type Catalogue, pushSchemas } from '@weft/schema'
import { Health, logger, processMetrics, publishMetrics, startTracing } from '@weft/telemetry'
import { type Command, InvalidArgumentError } from 'commander'
import type { Config, LoadOptions } from '../config.ts'
import { catalogueOf, folderOf, isKafka, openLog, shared } from '../connect.ts'
import { deleteStore, diskFull, occupy, writableFolder } from '../data-folder.ts'
import { developmentSecret } from '../dev-secret.ts'
import { ensureBounded } from '../dev-topics.ts'
import { EXIT, Exit } from '../exit.ts'
import { interruption } from '../interrupt.ts'
import { note, print, printJson, progress } from '../output.ts'
import { portNumber } from '../port.ts'
import { alertsApi, type Ground, gateway, loadForDevelopment, pipeline } from '../services.ts'

interface Options {
  readonly fresh?: boolean
  readonly demo: boolean
  readonly speed?: number
  readonly port?: number
}

const factor = (text: string): number => {
  const speed = Number(text)
  if (speed > 0 && Number.isFinite(speed)) return speed
  throw new InvalidArgumentError('Expected a number above 0.')
}

export function dev(program: Command): void {
  program
    .command('dev')
    .summary('run everything in this process, on demo sessions')
    .description(
      'Runs gateway, pipeline and alerts in one process over one log, an embedded store or Kafka, and plays real shopping sessions into it. For development: it listens on this machine only, and its write keys and secret are no secrets.',
    )
    .option('--fresh', 'begin with an empty embedded store: deletes the old one without asking')
    .option('--no-demo', 'play no demo sessions')
    .option('--speed <factor>', 'how many seconds of a demo session pass in a second', factor)
    .option('--port <port>', 'of the dashboard; events go to the next two. 0 takes free ones', portNumber)
    .addHelpText(
      'after',
      '\nExamples:\n  weft dev\n  weft dev --fresh --speed 600\n  weft dev --no-demo --port 9000\n  weft dev --log kafka://127.0.0.1:9092 --registry http://127.0.0.1:8081',
    )
    .action(async (options: Options, command: Command) => {
      const { json, log, registry, config: file } = shared(command)
      const load = { file, log, registry }
      const config = await loadForDevelopment(load)
      const folder = folderOf(config.log)
      await start(options, { config, load, folder, json: !!json })
    })
}

interface Setup {
  readonly config: Config
  readonly load: LoadOptions
  readonly folder: string | undefined
  readonly json: boolean
}

async function start(options: Options, { config, load, folder, json }: Setup): Promise<void> {
  const { DEMO_KEYS, play } = await import('@weft/local')
  if (folder !== undefined) {
    if (options.fresh && (await deleteStore(folder))) note(`deleted the store in ${folder}`)
    await writableFolder(folder, config.leastFreeBytes)
  } else if (options.fresh)
    throw new Exit(
      EXIT.usage,
      `--fresh deletes a store on this machine and never the topics of a cluster: ${config.log} was left as it is. To begin anew with the broker of "npm run local": npm run local -- down kafka --clean`,
    )

  using stop = interruption()
  let step = 'opening the log'
  const shown = progress(() => `${step}…`, { quiet: json })
  await using stack = new AsyncDisposableStack()
  stack.use(await occupy(folder))
  stack.use(shown)
  const log = logger('weft')
  const tracing = await startTracing('weft')
  if (tracing) stack.use(tracing)
  processMetrics()
  const catalogue = await catalogueOf(config)
  if (isKafka(config.log)) await pushMissing(config, catalogue)
  const transport = stack.use(
    await openLog(config, catalogue, { clientId: `weft-dev-${process.pid}`, purpose: 'service' }),
  )
  const differences = await ensureBounded(transport, catalogue, config.dev.retentionBytes)
  for (const difference of differences) log.warn(difference)
  const secret = config.jwtSecret ?? (await developmentSecret(config))
  const demoKeys = Object.fromEntries(Object.entries(DEMO_KEYS).map(([tenant, key]) => [key, tenant]))
  const auth = createAuth({ writeKeys: { ...demoKeys, ...config.writeKeys }, jwt: { secret } })
  const health = new Health()
  const ground = { config, transport, catalogue, health, auth }

  const devToken = () => signToken(secret, { tenant: '*', scopes: ['alerts:read', 'admin'], expiresIn: 86_400 })
  const port = options.port ?? config.dev.port
  const after = (more: number) => (port === 0 ? 0 : port + more)
  step = 'reading recent alerts'
  const alerts = stack.use(await alertsApi(loopback(ground), { port, devToken }))
  step = 'starting the gateway'
  const events = stack.use(await gateway(loopback(ground), { httpPort: after(1), port: after(2) }))
  step = 'starting the pipeline'
  const isPlaying = options.demo && config.dev.demo
  // What the demo sets off would push the addresses off the screen.
  const { done } = stack.use(await pipeline(ground, load, { deliveries: isPlaying ? 'debug' : 'info' }))
  const onError = (err: unknown) => log.warn({ err }, 'metrics could not be appended')
  stack.use(publishMetrics(transport, catalogue, 'weft', { onError }))

  const speed = options.speed ?? config.dev.speed
  if (isPlaying) {
    const playing = new AbortController()
    const played = play({
      urls: [events.https ?? ''],
      ...(events.certificate !== undefined && { ca: events.certificate }),
      signal: AbortSignal.any([stop.signal, playing.signal]),
      ...(speed && { speed }),
    }).catch(err => {
      if (!stop.signal.aborted) log.error({ err }, 'the demo sessions stopped')
    })
    stack.defer(async () => {
      playing.abort()
      await played
    })
  }

  const places = {
    dashboard: alerts.url,
    alerts: `${alerts.url}/v1/alerts/stream`,
    reference: `${alerts.url}/reference`,
    eventsReference: `${events.http}/docs`,
    metrics: `${alerts.url}/metrics`,
    events: [`${events.http}/v1/events`, `${events.https}/v1/events`],
    store: folder ?? config.log,
    demo: isPlaying,
  }
  shown[Symbol.dispose]()
  await (json ? printJson(places) : print(welcome(places)))

  // A task that cannot go on ends the process with its reason.
  await Promise.race([stop.stopped, done, diskFull(folder, config.leastFreeBytes, stop.signal)])
  if (!json) note('stopping…')
  await stack.disposeAsync()
  if (!json) note(`stopped; the data stays in ${folder ?? config.log}`)
}

/** What `weft schemas push` does when a release is deployed, for whoever has just started a registry. */
async function pushMissing({ registry: url, registryCredentials: credentials }: Config, catalogue: Catalogue) {
  if (url === undefined) return
  const pushed = await pushSchemas(catalogue, { url, ...(credentials && { credentials }) })
  const refusals = pushed.flatMap(({ subject, refusals }) => refusals.map(reason => `  ${subject}: ${reason}`))
  if (refusals.length > 0) throw new Exit(EXIT.faults, `${url} does not take the schemas:\n${refusals.join('\n')}`)
  const count = pushed.filter(({ action }) => action === 'registered').length
  if (count > 0) note(`registered ${count} schemas with ${url}`)
}

/** Development never listens anywhere else, whatever the configuration says of production. */
function loopback(ground: Ground): Ground {
  const { config } = ground
  const host = '127.0.0.1'
  return {
    ...ground,
    config: {
      ...config,
      gateway: { ...config.gateway, host, tls: undefined },
      alerts: { ...config.alerts, host, tls: undefined },
    },
  }
}

interface Places {
  readonly dashboard: string
  readonly alerts: string
  readonly reference: string
  readonly eventsReference: string
  readonly metrics: string
  readonly events: readonly string[]
  readonly store: string
  readonly demo: boolean
}

function welcome({ dashboard, alerts, reference, eventsReference, metrics, events, store, demo }: Places): string {
  const bold = (text: string) => styleText('bold', text)
  const event = JSON.stringify({ type: 'page_view', session_id: 's1', payload: { elapsed_ms: 0, page: 'product' } })
  return `
${bold('Weft is running')}${demo ? ', demo sessions are playing' : ''}

  Dashboard      ${styleText('cyan', dashboard)}
  API reference  ${styleText('cyan', reference)} (alerts), ${styleText('cyan', eventsReference)} (events)
  Metrics        ${metrics}
  Events to      ${events.join(', ')}
  Data in        ${store}

An event in, with the demo key of the store aurora:
  curl -X POST ${events[0]} -H 'Authorization: Bearer wk_aurora_demo' \\
    -H 'Content-Type: application/json' -d '${event}'

Alerts out, as they are raised:
  curl -N -H "Authorization: Bearer $(npm run -s weft -- token -t aurora)" ${alerts}

Ctrl-C stops.
`
}
