import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import type { Admission, Query } from './admission.ts'
import type { Channels } from './channel.ts'
import type { Connection } from './connection.ts'
import { parseFilter } from './filter.ts'
import type { Listeners } from './listeners.ts'
import { refused } from './metrics.ts'
import { asRefusal, Refusal } from './refusal.ts'
import type { Starts } from './starts.ts'
import { textFrame } from './websocket-frame.ts'
import { WIRES } from './wire.ts'

export const WEBSOCKET_PATH = '/v1/alerts/ws'

/** What a client offers so that it may offer its token beside it, as `bearer.<token>`: browsers can set no header. */
const SUBPROTOCOL = 'weft.alerts.v1'
const MAX_MESSAGE_BYTES = 4_096
const MAX_ANSWERED_BACKLOG = 16_384
const PONG = textFrame(Buffer.from('{"type":"pong"}'))

/**
 * `/v1/alerts/ws`: alerts as WebSocket messages. All that a client may say is `{"type":"ping"}`, answered by
 * `{"type":"pong"}`: filters and where to begin are in the query, as for server-sent events.
 */
export function alertSocket(
  server: Server,
  about: {
    admission: Admission
    starts: Starts
    channels: Channels
    listeners: Listeners
    isAllowedOrigin: (origin: string, host: string | undefined) => boolean
  },
): void {
  const { admission, starts, channels, listeners, isAllowedOrigin } = about
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: offered => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })

  async function upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const { searchParams, pathname } = new URL(request.url ?? '/', 'http://host')
    if (pathname !== WEBSOCKET_PATH) throw new Refusal('not_found', `WebSocket is spoken at ${WEBSOCKET_PATH}`)
    const { origin, host, authorization } = request.headers
    if (origin !== undefined && !isAllowedOrigin(origin, host))
      throw new Refusal(
        'origin_foreign',
        'pages of this origin may not connect: it must be configured as a CORS origin',
      )
    const query = queryOf(searchParams)
    const identity = await admission.identify(authorization ?? offeredToken(request), query)
    const filter = parseFilter(query, admission.tenant(identity, query))
    const start = await starts.of(query, undefined, 'latest')
    const expiresAt = identity.expiresAt ?? Number.POSITIVE_INFINITY
    admission.take(identity.tenant)
    const abandoned = () => admission.release(identity.tenant)
    socket.once('close', abandoned)
    // ws answers what is no proper handshake by itself, and then calls nothing back.
    sockets.handleUpgrade(request, socket, head, webSocket => {
      socket.off('close', abandoned)
      webSocket.on('error', () => {})
      const channel = channels.hold(filter)
      listen(
        webSocket,
        listeners.add({
          socket,
          webSocket,
          wire: WIRES.webSocket,
          channel,
          account: identity.tenant,
          expiresAt,
          start,
        }),
      )
    })
  }

  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    upgrade(request, socket, head).catch(error => {
      const refusal = asRefusal(error)
      refused.inc({ status: refusal.status })
      refuse(socket, refusal)
    })
  })
}

function listen(webSocket: WebSocket, connection: Connection): void {
  const lives = () => {
    connection.silent = 0
  }
  webSocket.on('pong', lives).on('message', (data, isBinary) => {
    lives()
    if (isBinary || !isPing(data)) webSocket.close(1008, 'send nothing but {"type":"ping"}: filters go into the query')
    else if (connection.state !== 'ended' && connection.backlog < MAX_ANSWERED_BACKLOG) connection.write(PONG)
  })
}

function isPing(data: RawData): boolean {
  try {
    return JSON.parse(String(data))?.type === 'ping'
  } catch {
    return false
  }
}

function offeredToken({ headers }: IncomingMessage): string | undefined {
  const offered = headers['sec-websocket-protocol']?.split(',').map(protocol => protocol.trim()) ?? []
  const token = offered.find(protocol => protocol.startsWith('bearer.'))
  return token && `Bearer ${token.slice('bearer.'.length)}`
}

function queryOf(parameters: URLSearchParams): Query {
  const query: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of parameters) query[name] = name in query ? [query[name] as string, value].flat() : value
  return query
}

function refuse(socket: Socket, { status, body, retryAfter }: Refusal): void {
  const json = JSON.stringify(body)
  const retry = retryAfter === undefined ? '' : `Retry-After: ${retryAfter}\r\n`
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n` +
      `Content-Length: ${Buffer.byteLength(json)}\r\n${retry}Connection: close\r\n\r\n${json}`,
  )
}
