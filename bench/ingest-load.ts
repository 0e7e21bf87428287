/** What the benchmarks of the gateway share: events over HTTP, and a gateway that takes them. */
import { join } from 'node:path'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import type { Catalogue } from '@weft/schema'
import type { Transport } from '@weft/transport'
import { type Answered, type Load, underLoad } from './http-load.ts'
import type { Figures } from './side-by-side.ts'

const SECONDS = 6
const event = (n: number) =>
  `{"event_id":"$ID","type":"page_view","user_id":"user-${n}","session_id":"session-${n}",` +
  `"payload":{"elapsed_ms":${n * 1000},"page":"product","url":"https://shop.example/products/${n}","product_id":"p${n}"}}`
const batch = `[${Array.from({ length: 100 }, (_, n) => event(n)).join(',')}]`

export type Shape = Pick<Load, 'body' | 'connections'> & { readonly rate?: number; readonly events: number }
const single: Shape = { body: event(7), connections: 512, events: 1 }
const hundred: Shape = { body: batch, connections: 32, events: 100 }

/** The load that the arguments ask for: one event a request, `--batches` of 100, or one a request at a `--rate`. */
export function asked(args: readonly string[], rate: number): { shape: Shape; title: string; args: string[] } {
  const own = args.filter(arg => arg === '--batches' || arg === '--rate')
  if (own.includes('--batches')) return { shape: hundred, title: 'in batches of 100', args: own }
  if (!own.includes('--rate')) return { shape: single, title: 'one a request', args: own }
  const title = `one a request, ${rate.toLocaleString('en-US')} a second`
  return { shape: { ...single, rate }, title, args: own }
}

/** Puts the load on a server of this process; `accepted` counts all events, those of the warming up too. */
export async function measured(
  port: number,
  { events, ...shape }: Shape,
): Promise<{ figures: Figures; accepted: number }> {
  const headers = { authorization: 'Bearer bench-key', 'content-type': 'application/json' }
  const load = { port, path: '/v1/events', headers, ...shape }
  const warming = await underLoad({ ...load, seconds: 2 })
  const before = process.cpuUsage()
  const answered: Answered = await underLoad({ ...load, seconds: SECONDS })
  const { user, system } = process.cpuUsage(before)
  for (const { statuses } of [warming, answered])
    if (Object.keys(statuses).some(status => status !== '202'))
      throw new Error(`not all were accepted: ${JSON.stringify(statuses)}`)
  const rate = answered.requestsPerSecond
  const count = answered.statuses['202'] ?? 0
  const figures = {
    'requests/s': rate,
    'events/s': rate * events,
    // All threads of the server: unlike the rate, what else runs on the machine hardly changes it.
    'CPU µs/request': (user + system) / count,
    'p50 ms': answered.p50,
    'p95 ms': answered.p95,
    'p99 ms': answered.p99,
  }
  return { figures, accepted: (count + (warming.statuses['202'] ?? 0)) * events }
}

/** A gateway that stands the load, measured. */
export async function gatewayUnder(shape: Shape, transport: Transport, catalogue: Catalogue, directory: string) {
  await using gateway = await startGateway({
    transport,
    catalogue,
    auth: createAuth({ writeKeys: { 'bench-key': 'bench' } }),
    directory: join(directory, 'gateway'),
    http: { port: 0 },
    https: false,
    limits: { rate: { rate: 1e9, burst: 1e9 } },
  })
  return await measured(Number(new URL(gateway.http ?? '').port), shape)
}
