import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import type { Admission } from './admission.ts'
import type { AlertLog } from './alert-log.ts'
import { catchUp } from './catch-up.ts'
import type { Channel } from './channel.ts'
import { Connection } from './connection.ts'
import { encodeCursor } from './cursor.ts'
import type { Fanout } from './fanout.ts'
import { connections, resets } from './metrics.ts'
import type { Start, Starts } from './starts.ts'
import type { Wire } from './wire.ts'

interface Listener {
  readonly socket: Socket
  readonly wire: Wire
  readonly channel: Channel
  readonly account: string
  readonly expiresAt: number
  readonly start: Start
  /** Written before all else. */
  readonly greeting?: Buffer
  readonly webSocket?: WebSocket
}

const CONNECTION = Symbol('connection')
type Held = Socket & { [CONNECTION]?: Connection | undefined }

/** Takes sockets that were admitted and sees to it that each gets what it asked for, until it is closed. */
export class Listeners {
  readonly #fanout: Fanout
  readonly #log: AlertLog
  readonly #starts: Starts
  readonly #admission: Admission
  readonly #logger: Logger

  constructor(about: { fanout: Fanout; log: AlertLog; starts: Starts; admission: Admission; logger: Logger }) {
    this.#fanout = about.fanout
    this.#log = about.log
    this.#starts = about.starts
    this.#admission = about.admission
    this.#logger = about.logger
  }

  /** The account must have been taken from the admission: it is given back when the socket closes. */
  add({ start, greeting, ...about }: Listener): Connection {
    const connection = new Connection(about)
    const { socket, wire } = connection
    connection.beatAt = Date.now()
    connection.cursor = connection.told = encodeCursor(this.#fanout.tape.cluster, start.vector)
    this.#fanout.add(connection)
    connections.inc({ kind: wire.kind })
    ;(socket as Held)[CONNECTION] = connection
    socket.on('drain', this.#onDrain).on('close', this.#onClose).setKeepAlive(true, 30_000)
    if (socket.destroyed) {
      this.#close(connection)
      return connection
    }
    const parts = [start.reset ? wire.reset(start.reset) : wire.cursor(connection.cursor)]
    if (start.reset) resets.inc({ reason: start.reset.reason })
    if (greeting) parts.unshift(greeting)
    connection.write(wire.packet(parts))
    // The usual case, for which no pursuit has to be made.
    if (start.vector === this.#fanout.tape.mark.vector) this.#fanout.enter(connection)
    else this.#catchUp(connection, start)
    return connection
  }

  #catchUp(connection: Connection, { vector }: Start): void {
    const replay = this.#log.replay.bind(this.#log)
    catchUp(connection, vector, { fanout: this.#fanout, replay, starts: this.#starts }).catch(error => {
      this.#logger.error({ err: error }, 'catching up failed, the client is sent away to resume')
      this.#fanout.end(connection, 'unavailable')
    })
  }

  #close(connection: Connection): void {
    if (!this.#fanout.remove(connection)) return
    connections.dec({ kind: connection.wire.kind })
    this.#admission.release(connection.account)
  }

  // Shared by all sockets: a closure for each would cost memory.
  readonly #onDrain = makeListener(connection => this.#fanout.drained(connection))
  readonly #onClose = makeListener(connection => this.#close(connection))

  /** Ends all, spread over `overMs`, each told to come back at another moment within `overMs` and a bit. */
  async drain(overMs: number): Promise<void> {
    const all = [...this.#fanout.connections]
    const startedAt = performance.now()
    for (const [index, connection] of all.entries()) {
      const due = startedAt + (overMs * index) / all.length - performance.now()
      if (due > 5) await new Promise(resume => setTimeout(resume, due))
      this.#fanout.flush()
      this.#fanout.end(connection, 'shutdown', Math.round(500 + Math.random() * Math.max(1_000, overMs)))
    }
    while (this.#fanout.connections.size > 0) await new Promise(resume => setTimeout(resume, 10))
  }
}

function makeListener(listen: (connection: Connection) => void) {
  return function onSocket(this: Held): void {
    const connection = this[CONNECTION]
    if (connection) listen(connection)
  }
}
