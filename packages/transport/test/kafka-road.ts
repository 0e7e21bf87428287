import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** The number of a request's kind, as Kafka's protocol has it. */
export const END_TRANSACTION = 26

/** What becomes of a request: `lose`: the broker gets it, and its answer is lost with the connection. */
export type Fate = 'pass' | 'cut' | 'lose'

export interface Road {
  open(): Promise<void>
  /** Cuts all connections, and lets no new ones in. */
  close(): Promise<void>
  /** Decides about each request; what comes after it on its connection waits for that. Undefined: all pass. */
  watch: ((kind: number) => Fate | Promise<Fate>) | undefined
}

/** The road from `port` to the broker's listener at `target`, by which it also tells clients to come. */
export async function openRoad(port: number, target: number): Promise<Road> {
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const upstream = connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    const lost = new Set<number>()
    let before: Promise<void> | undefined
    const forward = (request: Buffer, fate: Fate) => {
      if (fate === 'cut') client.destroy()
      else upstream.write(request)
      if (fate === 'lose') lost.add(request.readInt32BE(8))
    }
    onFrames(client, request => {
      const fate = road.watch?.(request.readInt16BE(4)) ?? 'pass'
      if (typeof fate === 'string' && !before) forward(request, fate)
      else before = Promise.all([fate, before]).then(([known]) => forward(request, known))
    })
    onFrames(upstream, answer => {
      if (lost.has(answer.readInt32BE(4))) client.destroy()
      else client.write(answer)
    })
  })
  const road: Road = {
    watch: undefined,
    async open() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    async close() {
      if (!server.listening) return
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
  await road.open()
  return road
}

/** Whole messages of Kafka's protocol: each begins with its length. */
function onFrames(socket: Socket, take: (frame: Buffer) => void): void {
  let chunks: Buffer[] = []
  let [size, wanted] = [0, 4]
  socket.on('data', chunk => {
    chunks.push(chunk as Buffer)
    size += chunk.length
    if (size < wanted) return
    let rest = Buffer.concat(chunks, size)
    while (rest.length >= 4) {
      wanted = 4 + rest.readInt32BE(0)
      if (rest.length < wanted) break
      take(rest.subarray(0, wanted))
      rest = rest.subarray(wanted)
      wanted = 4
    }
    chunks = [rest]
    size = rest.length
  })
}
