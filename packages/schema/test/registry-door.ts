import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A way to a registry that can be shut, asks for credentials, or answers with errors of its own. */
export interface Door extends AsyncDisposable {
  readonly url: string
  /** What was asked, as `GET /path`. */
  readonly asked: string[]
  /** What every request must bear, if set. */
  authorization: string | undefined
  /** The next requests are answered with these statuses instead of being passed on. */
  readonly failures: number[]
  shut(): Promise<void>
  open(): Promise<void>
}

export async function doorTo(registry: string): Promise<Door> {
  const target = new URL(registry)
  const pass = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    door.asked.push(`${incoming.method} ${incoming.url?.slice(target.pathname.length)}`)
    const status = door.failures.shift()
    const { authorization, ...headers } = incoming.headers
    if (status !== undefined || (door.authorization !== undefined && authorization !== door.authorization)) {
      outgoing.writeHead(status ?? 401).end('<html>no</html>')
      return
    }
    const { method, url: path } = incoming
    const onward = request({ host: target.hostname, port: target.port, method, path, headers }, answer => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  }
  let server = createServer(pass)
  let port = 0
  const open = async () => {
    server = createServer(pass).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const shut = async () => {
    if (!server.listening) return
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
  await open()
  const door: Door = {
    url: `http://127.0.0.1:${port}${target.pathname}`,
    asked: [],
    authorization: undefined,
    failures: [],
    shut,
    open,
    [Symbol.asyncDispose]: shut,
  }
  return door
}
