import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import type { Channel } from './channel.ts'
import type { Pursuit } from './pursuit.ts'
import { type Ending, type EndReason, LAST_CHUNK, WIRES, type Wire } from './wire.ts'

/**
 * catching up: on its own way to the shared order. live: sent the shared frames. lagging: a slow client that skips until
 * it has taken what is queued. ended: nothing more is sent.
 */
export type State = 'catching up' | 'live' | 'lagging' | 'ended'

const CLOSE_CODES: Record<EndReason, number> = { token_expired: 4401, shutdown: 1012, slow: 1013, unavailable: 1011 }

/** One client that listens. There are thousands: no timer and no closure of its own. */
export class Connection {
  readonly socket: Socket
  readonly wire: Wire
  readonly channel: Channel
  /** Whose limit of connections it counts against. */
  readonly account: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly webSocket: WebSocket | undefined
  state: State = 'catching up'
  pursuit: Pursuit | undefined
  /** Unless live: where it stands, everything at or before it has been written. */
  cursor = ''
  /** The last shared cursor it was told outside an alert. */
  told = ''
  beatAt = 0
  /** Beats since it last showed that it lives; WebSocket only. */
  silent = 0
  /** When ended: when it is cut off. When something is queued: since when nothing was taken. */
  since = 0
  /** Bytes that had left the process when last looked. */
  taken = 0
  #drained: PromiseWithResolvers<void> | undefined

  constructor(
    about: Pick<Connection, 'socket' | 'wire' | 'channel' | 'account' | 'expiresAt'> & { webSocket?: WebSocket },
  ) {
    this.socket = about.socket
    this.wire = about.wire
    this.channel = about.channel
    this.account = about.account
    this.expiresAt = about.expiresAt
    this.webSocket = about.webSocket
  }

  /** Bytes that wait in this process. */
  get backlog(): number {
    return this.socket.writableLength
  }

  /** False when the socket takes no more at the moment. */
  write(packet: Buffer): boolean {
    return this.socket.writable ? this.socket.write(packet) : true
  }

  /** Resolves when all that was written is taken, or the socket is closed. */
  drained(): Promise<void> {
    if (!this.socket.writableNeedDrain || this.socket.destroyed) return Promise.resolve()
    this.#drained ??= Promise.withResolvers()
    return this.#drained.promise
  }

  onDrain(): void {
    this.#drained?.resolve()
    this.#drained = undefined
  }

  /** Says why and where to resume, then closes in the way of the protocol. */
  end(ending: Ending): void {
    this.state = 'ended'
    this.pursuit?.stop()
    this.onDrain()
    this.write(this.wire.packet([this.wire.end(ending)]))
    if (this.webSocket) {
      this.webSocket.close(CLOSE_CODES[ending.reason], ending.reason)
      return
    }
    if (this.wire === WIRES.chunked) this.write(LAST_CHUNK)
    this.socket.end()
  }

  closed(): void {
    this.state = 'ended'
    this.pursuit?.stop()
    this.onDrain()
  }
}
