import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuth, signToken } from '@weft/auth'
import { type Catalogue, type EventRaw, loadCatalogue } from '@weft/schema'
import { HEADERS, open, type Received, type Transport } from '@weft/transport'
import { type Gateway, type GatewayOptions, startGateway } from '../src/index.ts'
import { holdToDocument } from './openapi-truth.ts'

export const catalogue: Catalogue = await loadCatalogue()
export const RAW = { name: 'events.raw.v1' }
export const secret = 'the secret of the gateway tests, 32 bytes'
export const auth = createAuth({
  writeKeys: { wk_aurora_test: 'aurora', wk_birch_test: 'birch' },
  jwt: { secret },
})
export const token = (tenant: string, scopes: ('ingest' | 'alerts:read')[] = ['ingest']) =>
  signToken(secret, { tenant, scopes })

export interface World extends AsyncDisposable {
  readonly directory: string
  readonly transport: Transport
  readonly gateway: Gateway
  readonly url: string
}

export async function makeDirectory(): Promise<string & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-gateway-'))
  return Object.assign(directory, {
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }),
  })
}

/** A store of its own and a gateway on it, over plain HTTP on a free port; all gone when it is disposed. */
export async function world(
  options: Partial<GatewayOptions> = {},
  wrap: (transport: Transport) => Transport = transport => transport,
): Promise<World> {
  await using made = new AsyncDisposableStack()
  const directory = String(made.use(await makeDirectory()))
  const opened = made.use(await open(`embedded:${join(directory, 'store')}`))
  await opened.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === RAW.name))
  const transport = wrap(opened)
  const gateway = made.use(
    await startGateway({
      transport,
      catalogue,
      auth,
      directory: join(directory, 'gateway'),
      http: { port: 0 },
      https: false,
      ...options,
    }),
  )
  const all = made.move()
  const url = `${gateway.http ?? gateway.https}/v1/events`
  return { directory, transport, gateway, url, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** The transport with another append: one that fails, waits, or kills. */
export const withAppend = (transport: Transport, append: Transport['append']): Transport =>
  new Proxy(transport, {
    get(target, name) {
      if (name === 'append') return append
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

export interface Sent {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: what it is, is what the tests are about.
  readonly body: any
}

/** Posts as aurora unless told otherwise; an object or an array is sent as JSON. Holds the answer to the OpenAPI document. */
export async function send(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
  init: RequestInit = {},
): Promise<Sent> {
  const raw = typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: 'Bearer wk_aurora_test', 'content-type': 'application/json', ...headers },
    body: raw ? (body as RequestInit['body']) : JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
    ...init,
  })
  const answer = { status: response.status, headers: response.headers, body: await response.json() }
  holdToDocument(answer.status, answer.headers, answer.body)
  return answer
}

export const pageView = (more: { event_id?: string; [field: string]: unknown } = {}) => ({
  type: 'page_view',
  session_id: 's-1',
  payload: { elapsed_ms: 10, page: 'product' },
  ...more,
})

export type Logged = Received & { readonly event: EventRaw }

/** All events of the log, without ticks, in the order of partitions and positions. */
export async function logged(transport: Transport): Promise<Logged[]> {
  const codec = catalogue.codec('events.raw.v1')
  const { first, end } = await transport.admin.describe(RAW)
  const found: Logged[] = []
  for (const [partition, last] of end.entries()) {
    if (transport.compare(first[partition] as typeof last, last) >= 0) continue
    for await (const batch of transport.read(RAW, { from: 'earliest', partitions: [partition] })) {
      for (const record of batch) {
        if (!record.headers?.some(([name]) => name === HEADERS.tick))
          found.push({ ...record, event: codec.decode(record) })
      }
      const at = batch.at(-1)?.position
      if (at && transport.compare(at, last) >= 0) break
    }
  }
  return found
}
