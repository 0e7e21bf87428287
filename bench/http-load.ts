/**
 * A load generator for one HTTP/1.1 route: raw sockets and requests made beforehand, so that it needs far less of a core
 * than the server it measures. With a rate it is an open loop: a request is due whether or not earlier ones were
 * answered, and its latency counts from when it was due.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { percentile, pinned } from './side-by-side.ts'

export interface Load {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** The body of request n, made when it is sent; the text may hold `$ID`, replaced by a text unique in the run. */
  readonly body: string
  /** How many `$ID`s a body has. */
  readonly ids?: number
  readonly connections: number
  readonly seconds: number
  /** Requests a second; none: as many as are answered, one in flight a connection. */
  readonly rate?: number
}

export interface Answered {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p95: number
  readonly p99: number
  /** Answers by status code. */
  readonly statuses: Record<string, number>
}

/** Runs the load in a process of its own, pinned to `cores`. */
export async function underLoad(load: Load, cores = '1'): Promise<Answered> {
  const child = pinned(cores, [fileURLToPath(import.meta.url)])
  child.stdin?.end(JSON.stringify(load))
  let printed = ''
  for await (const chunk of child.stdout ?? []) printed += chunk
  return JSON.parse(printed)
}

class Connection {
  readonly #socket: Socket
  readonly #due: number[] = []
  #rest = ''
  constructor(socket: Socket, answered: (due: number, status: string) => void) {
    this.#socket = socket.setNoDelay()
    socket.setEncoding('latin1').on('data', (chunk: unknown) => {
      this.#rest += chunk
      for (;;) {
        const head = this.#rest.indexOf('\r\n\r\n')
        if (head < 0) return
        const length = Number(/content-length: (\d+)/i.exec(this.#rest.slice(0, head))?.[1] ?? 0)
        if (this.#rest.length < head + 4 + length) return
        const status = this.#rest.slice(9, 12)
        this.#rest = this.#rest.slice(head + 4 + length)
        answered(this.#due.shift() ?? 0, status)
      }
    })
  }
  send(request: string, due: number): void {
    this.#due.push(due)
    this.#socket.write(request)
  }
  close(): void {
    this.#socket.destroy()
  }
  static async open(port: number, answered: (due: number, status: string, connection: Connection) => void) {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const connection: Connection = new Connection(socket, (due, status) => answered(due, status, connection))
    return connection
  }
}

async function run(load: Load): Promise<Answered> {
  const run = Math.random().toString(36).slice(2, 8)
  const pieces = load.body.split('$ID')
  const idLength = run.length + 10
  const length = pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0) + (pieces.length - 1) * idLength
  const headers = Object.entries({ ...load.headers, 'content-length': String(length) })
  const head = `POST ${load.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers.map(([k, v]) => `${k}: ${v}`).join('\r\n')}\r\n\r\n`
  let made = 0
  const request = () => {
    let body = pieces[0] ?? ''
    for (let i = 1; i < pieces.length; i++) body += run + String(made++).padStart(10, '0') + pieces[i]
    return head + body
  }

  const latencies: number[] = []
  const statuses: Record<string, number> = {}
  const end = performance.now() + load.seconds * 1000
  let outstanding = 0
  const done = Promise.withResolvers<void>()
  const answered = (due: number, status: string, connection: Connection) => {
    latencies.push(performance.now() - due)
    statuses[status] = (statuses[status] ?? 0) + 1
    outstanding--
    const now = performance.now()
    if (now < end && !load.rate) send(connection, now)
    else if (now >= end && outstanding === 0) done.resolve()
  }
  const send = (connection: Connection, due: number) => {
    outstanding++
    connection.send(request(), due)
  }
  const connections = await Promise.all(
    Array.from({ length: load.connections }, () => Connection.open(load.port, answered)),
  )
  const began = performance.now()
  if (load.rate) {
    let sent = 0
    const timer = setInterval(() => {
      const now = performance.now()
      while (began + (sent * 1000) / (load.rate as number) <= Math.min(now, end)) {
        send(connections[sent % connections.length] as Connection, began + (sent * 1000) / (load.rate as number))
        sent++
      }
      if (now >= end) clearInterval(timer)
    }, 1)
  } else for (const connection of connections) send(connection, performance.now())
  await done.promise
  const elapsed = performance.now() - began
  for (const connection of connections) connection.close()
  const at = (share: number) => percentile(latencies, share)
  return {
    requestsPerSecond: (latencies.length * 1000) / elapsed,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    statuses,
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  let input = ''
  for await (const chunk of process.stdin) input += chunk
  const answered = await run(JSON.parse(input))
  process.stdout.write(JSON.stringify(answered), () => process.exit(0))
}
