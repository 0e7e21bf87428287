/**
 * The receiving end of the fan-out benchmark, in a process of its own: opens SSE or WebSocket connections, counts what
 * arrives on all of them, and measures the delay on a sample. Alerts carry the time they were published in `raised_at`.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { percentile, pinned } from './side-by-side.ts'

export interface Audience {
  readonly port: number
  readonly connections: number
  /** The request line's path, with the token and all. */
  readonly path: string
  readonly kind: 'sse' | 'ws'
}

export interface Received {
  readonly deliveries: number
  readonly bytes: number
  /** Milliseconds from publishing to arrival, over a sample. */
  readonly p50: number
  readonly p99: number
  readonly sampled: number
}

/** What marks one delivery in the bytes: once in each frame, never elsewhere. */
const MARK = Buffer.from('"raised_at":')

/** Connects them all, then calls `publish`; counts until `expected` have arrived or nothing did for two seconds. */
export async function deliveredTo(audience: Audience, expected: number, publish: () => Promise<void>, cores = '1') {
  const child = pinned(cores, [fileURLToPath(import.meta.url)])
  child.send({ audience, expected })
  await once(child, 'message')
  const [, [received]] = await Promise.all([publish(), once(child, 'message')])
  child.disconnect()
  child.kill()
  return received as Received
}

async function open(audience: Audience): Promise<Socket> {
  const socket = connect(audience.port, '127.0.0.1').setNoDelay()
  await once(socket, 'connect')
  const upgrade =
    audience.kind === 'ws'
      ? 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
      : 'Accept: text/event-stream\r\n'
  socket.write(`GET ${audience.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${upgrade}\r\n`)
  const [head] = await once(socket, 'data')
  const status = String(head).slice(9, 12)
  if (status !== (audience.kind === 'ws' ? '101' : '200'))
    throw new Error(`The server answered ${String(head).slice(0, 300)}`)
  return socket
}

async function receive(audience: Audience, expected: number): Promise<void> {
  const sockets: Socket[] = []
  while (sockets.length < audience.connections) {
    const some = Math.min(50, audience.connections - sockets.length)
    sockets.push(...(await Promise.all(Array.from({ length: some }, () => open(audience)))))
  }
  const delays: number[] = []
  let [deliveries, total, last] = [0, 0, Date.now()]
  const done = Promise.withResolvers<void>()
  const step = Math.max(1, Math.floor(sockets.length / 100))
  for (const [i, socket] of sockets.entries()) {
    const sampled = i % step === 0
    socket.on('data', chunk => {
      const data = chunk as Buffer
      total += data.length
      for (let at = data.indexOf(MARK); at >= 0; at = data.indexOf(MARK, at + 200)) {
        deliveries++
        if (sampled && at + 25 < data.length)
          delays.push(Date.now() - Number(data.toString('latin1', at + 12, at + 25)))
      }
      last = Date.now()
      if (deliveries >= expected) done.resolve()
    })
  }
  const idle = setInterval(() => deliveries > 0 && Date.now() - last > 2_000 && done.resolve(), 100)
  process.send?.('connected')
  await done.promise
  clearInterval(idle)
  const figures: Received = {
    deliveries,
    bytes: total,
    p50: percentile(delays, 0.5),
    p99: percentile(delays, 0.99),
    sampled: delays.length,
  }
  process.send?.(figures)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [{ audience, expected }] = (await once(process, 'message')) as [{ audience: Audience; expected: number }]
  await receive(audience, expected)
}
