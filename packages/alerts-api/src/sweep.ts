import type { Connection } from './connection.ts'
import type { Fanout } from './fanout.ts'

export interface SweepOptions {
  readonly heartbeatMs?: number
  /** A client that takes nothing of what is queued for it is cut off after this time. Milliseconds. */
  readonly stallMs?: number
}

/** Beats without a sign of life after which a WebSocket is cut off. */
const MAX_SILENT = 2

/** One timer for all connections: heartbeats, resume positions, expired tokens, the stalled and the vanished. */
export class Sweep {
  readonly #fanout: Fanout
  readonly #heartbeatMs: number
  readonly #stallMs: number
  readonly #timer: NodeJS.Timeout

  constructor(fanout: Fanout, { heartbeatMs = 15_000, stallMs = 30_000 }: SweepOptions = {}) {
    this.#fanout = fanout
    this.#heartbeatMs = heartbeatMs
    this.#stallMs = stallMs
    this.#timer = setInterval(this.#run, Math.max(10, Math.min(1_000, heartbeatMs / 4))).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  readonly #run = (): void => {
    const now = Date.now()
    this.#fanout.boundTotal()
    const { cursor } = this.#fanout.tape.mark
    const packets = new Map<unknown, Buffer>()
    for (const connection of this.#fanout.connections) {
      if (this.#isStuck(connection, now)) connection.socket.destroy()
      else if (connection.state === 'ended') continue
      else if (connection.expiresAt <= now) this.#fanout.end(connection, 'token_expired')
      else if (now - connection.beatAt >= this.#heartbeatMs) this.#beat(connection, now, cursor, packets)
    }
  }

  #isStuck(connection: Connection, now: number): boolean {
    if (connection.state === 'ended') return now >= connection.since
    if (connection.backlog === 0) {
      connection.since = 0
      return false
    }
    const taken = connection.socket.bytesWritten - connection.backlog
    if (connection.since === 0 || taken > connection.taken) {
      connection.since = now
      connection.taken = taken
    }
    return now - connection.since >= this.#stallMs
  }

  /** A comment or a ping; with it the place to resume from, so that it moves even where no alert fits the filter. */
  #beat(connection: Connection, now: number, shared: string, packets: Map<unknown, Buffer>): void {
    const { wire, state } = connection
    connection.beatAt = now
    if (connection.webSocket && ++connection.silent > MAX_SILENT) {
      connection.socket.destroy()
      return
    }
    if (state === 'lagging') return
    const cursor = state === 'live' ? shared : connection.cursor
    if (cursor !== connection.told) {
      connection.told = cursor
      let packet = state === 'live' ? packets.get(wire) : undefined
      packet ??= wire.packet([wire.cursor(cursor)])
      if (state === 'live') packets.set(wire, packet)
      connection.write(packet)
    }
    connection.write(wire.beat)
  }
}
