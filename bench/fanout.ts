/**
 * Alerts to many connections: the alerts API beside a bare loop that encodes once, coalesces for 10 ms and writes the same
 * bytes to every socket. The server has one core, the clients the other. `--ws` for WebSocket; `--connections N`.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startAlertsApi } from '@weft/alerts-api'
import { createAuth, signToken } from '@weft/auth'
import { type Alert, loadCatalogue } from '@weft/schema'
import { Health } from '@weft/telemetry'
import { bytes, HEADERS, header, open } from '@weft/transport'
import { type Audience, deliveredTo } from './fanout-clients.ts'
import { type Figures, sideBySide } from './side-by-side.ts'

const option = (name: string, otherwise: number) =>
  Number(process.argv[process.argv.indexOf(name) + 1] ?? otherwise) || otherwise
const connections = process.argv.includes('--connections') ? option('--connections', 1_000) : 1_000
const kind: Audience['kind'] = process.argv.includes('--ws') ? 'ws' : 'sse'
/** Deliveries a second that are asked for: above what is claimed, so that the server shows what it can. */
const wanted = process.argv.includes('--deliveries') ? option('--deliveries', 400_000) : 400_000
const SECONDS = 8
const perSecond = Math.max(1, Math.round(wanted / connections))
const total = perSecond * SECONDS

/** Publishes at an even pace, a few at a time. */
async function paced(publish: (count: number) => Promise<unknown>): Promise<void> {
  const began = performance.now()
  for (let sent = 0; sent < total; ) {
    const due = Math.min(total, Math.floor(((performance.now() - began) * perSecond) / 1000) + 1)
    if (due > sent) await publish(due - sent)
    sent = Math.max(sent, due)
    await setTimeout(4)
  }
}

async function measured(port: number, path: string, publish: (count: number) => Promise<unknown>): Promise<Figures> {
  global.gc?.()
  const before = process.memoryUsage.rss()
  let connected = before
  const expected = connections * total
  let began = 0
  const received = await deliveredTo({ port, connections, path, kind }, expected, async () => {
    connected = process.memoryUsage.rss()
    began = performance.now()
    await paced(publish)
  })
  const elapsed = performance.now() - began
  return {
    'deliveries/s': (received.deliveries * 1000) / elapsed,
    'delivered, share': received.deliveries / expected,
    'p50 ms': received.p50,
    'p99 ms': received.p99,
    'KB a connection, idle': (connected - before) / 1024 / connections,
    'KB a connection, busy': (process.memoryUsage.rss() - before) / 1024 / connections,
  }
}

/** About 256 bytes as JSON; the clients look for `raised_at`. */
const alert = (n: number): Alert => ({
  alert_id: `alert-${n}`,
  store_id: 'bench',
  user_id: null,
  session_id: null,
  entity: `bench:${n % 997}`,
  rule: 'bench',
  severity: 'warning',
  state: 'raised',
  score: null,
  threshold: null,
  message: 'bench',
  source_event_id: null,
  window_start: null,
  window_end: null,
  event_time: 0,
  raised_at: Date.now(),
  received_at: null,
})

async function weft(): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const catalogue = await loadCatalogue()
  const transport = await open(`embedded:${directory}`)
  await transport.admin.ensure(catalogue.specs())
  const secret = 'a secret of the benchmark, long enough for HS256'
  const auth = createAuth({ writeKeys: {}, jwt: { secret } })
  const token = await signToken(secret, { tenant: 'bench', scopes: ['alerts:read'], expiresIn: 3600 })
  const api = await startAlertsApi({
    transport,
    catalogue,
    auth,
    health: new Health(),
    port: 0,
    connectionsPerTenant: 20_000,
    maxConnections: 20_000,
  })
  const codec = catalogue.codec('alerts.v1')
  let n = 0
  const path = kind === 'ws' ? '/v1/alerts/ws' : '/v1/alerts/stream'
  const figures = await measured(Number(new URL(api.url).port), `${path}?access_token=${token}&from=latest`, count => {
    const messages = Array.from({ length: count }, () => ({
      key: bytes(`bench:${n % 997}`),
      value: codec.encode(alert(n++)),
      time: Date.now(),
      schema: codec.schema,
      headers: [header(HEADERS.tenant, 'bench')],
    }))
    return transport.append({ name: 'alerts.v1' }, messages)
  })
  await api[Symbol.asyncDispose]()
  await transport[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
  return figures
}

/** Frames of the same size; it knows nobody's cursor, filter, token or speed. */
async function bare(): Promise<Figures> {
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    sockets.add(request.socket)
  })
  server.listen(0, '127.0.0.1')
  let [n, pending] = [0, '']
  const timer = setInterval(() => {
    if (!pending) return
    const frame = Buffer.from(pending)
    pending = ''
    for (const socket of sockets) socket.write(frame)
  }, 10)
  await setTimeout(100)
  const figures = await measured((server.address() as AddressInfo).port, '/', async count => {
    for (let i = 0; i < count; i++) {
      const data = `id: c1.bench.0:${n},1:${n},2:${n}\nevent: alert\ndata: ${JSON.stringify(alert(n++))}\n\n`
      pending += `${data.length.toString(16)}\r\n${data}\r\n`
    }
  })
  clearInterval(timer)
  server.closeAllConnections()
  return figures
}

await sideBySide({
  file: fileURLToPath(import.meta.url),
  args: process.argv.slice(2).filter(arg => arg !== '--run' && arg !== '--rounds'),
  title: `Fan-out, ${kind === 'ws' ? 'WebSocket' : 'SSE'}, ${connections.toLocaleString('en-US')} connections, ${wanted.toLocaleString('en-US')} deliveries/s asked for`,
  contenders: kind === 'ws' ? { 'weft alerts-api': weft } : { 'bare loop': bare, 'weft alerts-api': weft },
  compare: ['deliveries/s'],
  cores: '0',
})
