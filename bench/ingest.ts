/**
 * Events over HTTP: the gateway on the embedded transport (authenticated, checked, deduplicated, durable) beside a bare
 * Fastify route that parses the same JSON and forgets it. The server has one core, the load generator the other.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import { loadCatalogue } from '@weft/schema'
import { open } from '@weft/transport'
import Fastify from 'fastify'
import { type Answered, type Load, underLoad } from './http-load.ts'
import { type Figures, sideBySide } from './side-by-side.ts'

const SECONDS = 6
const event = (n: number) =>
  `{"event_id":"$ID","type":"page_view","user_id":"user-${n}","session_id":"session-${n}",` +
  `"payload":{"elapsed_ms":${n * 1000},"page":"product","url":"https://shop.example/products/${n}","product_id":"p${n}"}}`
const batch = `[${Array.from({ length: 100 }, (_, n) => event(n)).join(',')}]`

type Shape = Pick<Load, 'body' | 'connections'> & { readonly rate?: number; readonly events: number }
const single: Shape = { body: event(7), connections: 512, events: 1 }
const hundred: Shape = { body: batch, connections: 32, events: 100 }

async function measured(port: number, { events, ...shape }: Shape): Promise<Figures> {
  const headers = { authorization: 'Bearer bench-key', 'content-type': 'application/json' }
  const load = { port, path: '/v1/events', headers, ...shape }
  await underLoad({ ...load, seconds: 2 })
  const before = process.cpuUsage()
  const answered: Answered = await underLoad({ ...load, seconds: SECONDS })
  const { user, system } = process.cpuUsage(before)
  const other = Object.keys(answered.statuses).filter(status => status !== '202')
  if (other.length > 0) throw new Error(`not all were accepted: ${JSON.stringify(answered.statuses)}`)
  const rate = answered.requestsPerSecond
  const count = Object.values(answered.statuses).reduce((sum, each) => sum + each, 0)
  return {
    'requests/s': rate,
    'events/s': rate * events,
    // All threads of the server: unlike the rate, what else runs on the machine hardly changes it.
    'CPU µs/request': (user + system) / count,
    'p50 ms': answered.p50,
    'p95 ms': answered.p95,
    'p99 ms': answered.p99,
  }
}

async function bare(shape: Shape): Promise<Figures> {
  const app = Fastify({ bodyLimit: 4 << 20 })
  app.post('/v1/events', async (request, reply) => {
    const events = [request.body].flat() as { event_id: string }[]
    return reply.code(202).send({ results: events.map(({ event_id }) => ({ event_id, status: 'accepted' })) })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const figures = await measured(port, shape)
  await app.close()
  return figures
}

async function weft(shape: Shape): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const catalogue = await loadCatalogue()
  const transport = await open(`embedded:${join(directory, 'store')}`)
  await transport.admin.ensure(catalogue.specs())
  const gateway = await startGateway({
    transport,
    catalogue,
    auth: createAuth({ writeKeys: { 'bench-key': 'bench' } }),
    directory: join(directory, 'gateway'),
    http: { port: 0 },
    https: false,
    limits: { rate: { rate: 1e9, burst: 1e9 } },
  })
  const figures = await measured(Number(new URL(gateway.http ?? '').port), shape)
  await gateway[Symbol.asyncDispose]()
  await transport[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
  return figures
}

const file = fileURLToPath(import.meta.url)
const wanted = process.argv.includes('--batches')
  ? hundred
  : process.argv.includes('--rate')
    ? { ...single, rate: 1_000 }
    : single
const title =
  wanted === hundred ? 'in batches of 100' : wanted === single ? 'one a request' : 'one a request, 1,000 a second'
await sideBySide({
  file,
  args: process.argv.slice(2).filter(arg => arg === '--batches' || arg === '--rate'),
  title: `Events over HTTP, ${title}, server on one core`,
  contenders: { 'bare Fastify route': () => bare(wanted), 'weft gateway': () => weft(wanted) },
  compare: ['requests/s', 'events/s'],
  cores: '0',
})
