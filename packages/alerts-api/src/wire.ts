import type { Frame } from './frame.ts'
import { textFrame } from './websocket-frame.ts'

/** Why alerts between two cursors are not given: removed by retention, skipped for a slow client, or lost by the log. */
export interface Reset {
  readonly reason: 'retention' | 'slow' | 'ahead'
  readonly from: string
  readonly to: string
}

export type EndReason = 'token_expired' | 'shutdown' | 'slow' | 'unavailable'

export interface Ending {
  readonly reason: EndReason
  /** Where to resume. */
  readonly cursor: string
  /** When to come back, in milliseconds. */
  readonly retryMs: number
}

/** How one protocol puts things. All of it is bytes that may be written to any number of sockets. */
export interface Wire {
  readonly kind: 'sse' | 'websocket'
  alert(frame: Frame, cursor?: string): Buffer
  /** Moves the place to resume from without an alert. */
  cursor(cursor: string): Buffer
  reset(reset: Reset): Buffer
  end(ending: Ending): Buffer
  /** Shows the client, and those between, that the connection lives. */
  readonly beat: Buffer
  /** What is written for these parts together. */
  packet(parts: readonly Buffer[]): Buffer
}

const encode = (text: string): Buffer => Buffer.from(text)

/**
 * `text/event-stream` without framing, for HTTP/1.0. A cursor comes as an event with data, for a block with nothing
 * but an id is not handed on by every client, though browsers do note it (HTML, 9.2.6).
 */
const plain: Wire = {
  kind: 'sse',
  alert: (frame, cursor) => frame.sse(cursor),
  cursor: cursor => encode(`id: ${cursor}\nevent: cursor\ndata: {}\n\n`),
  reset: reset => encode(`id: ${reset.to}\nevent: reset\ndata: ${JSON.stringify(reset)}\n\n`),
  end: ({ retryMs, ...end }) =>
    encode(`retry: ${retryMs}\nid: ${end.cursor}\nevent: end\ndata: ${JSON.stringify(end)}\n\n`),
  beat: encode(': beat\n\n'),
  packet: parts => (parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)),
}

const CRLF = encode('\r\n')

function chunk(parts: readonly Buffer[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  return Buffer.concat([encode(`${length.toString(16)}\r\n`), ...parts, CRLF])
}

/** The same in chunks of HTTP/1.1 (RFC 9112, 7.1): one chunk a packet. */
const chunked: Wire = { ...plain, beat: chunk([plain.beat]), packet: chunk }

const message = (value: object): Buffer => textFrame(encode(JSON.stringify(value)))

/** WebSocket: each thing is a text message of JSON whose `type` says what it is. */
const webSocket: Wire = {
  kind: 'websocket',
  alert: (frame, cursor) => frame.webSocket(cursor),
  cursor: cursor => message({ type: 'cursor', cursor }),
  reset: reset => message({ type: 'reset', ...reset }),
  end: end => message({ type: 'end', ...end }),
  // A ping without payload.
  beat: Buffer.from([0x89, 0]),
  packet: plain.packet,
}

export const WIRES = { plain, chunked, webSocket }

/** Ends a chunked body. */
export const LAST_CHUNK = encode('0\r\n\r\n')
