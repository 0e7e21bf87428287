import { type Channel, Channels } from './channel.ts'
import type { Connection } from './connection.ts'
import { matches } from './filter.ts'
import type { Frame } from './frame.ts'
import { ageSeconds, deliveries, deliverySeconds, encoded, ended, queuedBytes, resets, ringBytes } from './metrics.ts'
import type { Logged } from './pursuit.ts'
import type { Tape } from './tape.ts'
import type { Vector } from './vector.ts'
import type { EndReason, Reset } from './wire.ts'

export type SlowPolicy = 'drop-to-latest' | 'disconnect'

export interface FanoutOptions {
  /** Frames wait this long for others, so that one write carries several. Milliseconds. */
  readonly coalesceMs?: number
  /** What happens to a client that does not take what it is sent. */
  readonly slow?: SlowPolicy
  /** Bytes that may wait in this process for one client, and for all together. */
  readonly maxQueuedBytes?: number
  readonly maxTotalQueuedBytes?: number
  /** How soon a client that was ended should come back. Milliseconds. */
  readonly retryMs?: number
  /** How long an ended client may take what is queued before it is cut off. Milliseconds. */
  readonly lingerMs?: number
  /** Told of each alert as it is taken. */
  readonly onFrame?: (frame: Frame) => void
}

/** Bytes of a channel, and of all its deliveries together, that make the reader wait for the next flush. */
const CHANNEL_BYTES = 256 * 1024
const DELIVERY_BYTES = 48 * 1024 * 1024
const MAX_PAUSE_MS = 50

/** Sends each frame to all live connections that want it: encoded once, the same bytes to every socket, few writes. */
export class Fanout {
  readonly tape: Tape
  readonly channels = new Channels()
  readonly connections = new Set<Connection>()
  readonly #options: Required<FanoutOptions>
  readonly #dirty = new Set<Channel>()
  /** Those with something queued. */
  readonly #queued = new Set<Connection>()
  #timer: NodeJS.Timeout | undefined
  #pendingBytes = 0
  #lastFlushMs = 0

  constructor(
    tape: Tape,
    {
      coalesceMs = 10,
      slow = 'disconnect',
      maxQueuedBytes = 1024 * 1024,
      maxTotalQueuedBytes = 256 * 1024 * 1024,
      retryMs = 2_000,
      lingerMs = 5_000,
      onFrame = () => {},
    }: FanoutOptions = {},
  ) {
    this.tape = tape
    this.#options = { coalesceMs, slow, maxQueuedBytes, maxTotalQueuedBytes, retryMs, lingerMs, onFrame }
  }

  /** Takes a record of the log in the shared order. When it returns a promise, wait for it before the next. */
  push(record: Logged): Promise<void> | undefined {
    const frame = this.tape.push(record, record.alert)
    this.#timer ??= setTimeout(
      this.flush,
      Math.min(Math.max(this.#options.coalesceMs, this.#lastFlushMs / 2), MAX_PAUSE_MS),
    )
    if (!frame) return undefined
    encoded.inc()
    this.#options.onFrame(frame)
    let full = false
    for (const channel of this.channels.of(frame)) {
      if (channel.live.size === 0) continue
      this.#dirty.add(channel)
      channel.pending.push(frame)
      channel.pendingBytes += frame.bytes
      full ||= channel.pendingBytes > CHANNEL_BYTES
      for (const same of channel.live.values()) this.#pendingBytes += frame.bytes * same.size
    }
    return full || this.#pendingBytes > DELIVERY_BYTES ? this.tape.marked : undefined
  }

  /** Puts a connection that stands at the mark among those who are sent the shared frames. */
  enter(connection: Connection): void {
    const { channel } = connection
    connection.state = 'live'
    // Nobody was live here until now, so nothing was collected since the mark.
    if (channel.live.size === 0) this.#collect(channel)
    channel.enter(connection)
  }

  #collect(channel: Channel): void {
    const { mark, ring } = this.tape
    channel.pending = []
    for (let number = mark.end; number < ring.end; number++) {
      const frame = ring.at(number)
      if (matches(channel.filter, frame)) channel.pending.push(frame)
    }
    if (channel.pending.length > 0) this.#dirty.add(channel)
  }

  /** Sends what waits and sets the mark. */
  readonly flush = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#pendingBytes = 0
    const before = performance.now()
    const { cursor } = this.tape.mark
    this.tape.setMark()
    for (const channel of this.#dirty) this.#send(channel, cursor)
    this.#dirty.clear()
    this.boundTotal()
    this.#lastFlushMs = performance.now() - before
    ringBytes.set(this.tape.ring.bytes)
  }

  write(connection: Connection, packet: Buffer): void {
    if (!connection.write(packet)) this.#queued.add(connection)
  }

  /** `before` is where those stand that cannot take it. */
  #send(channel: Channel, before: string): void {
    const frames = channel.pending
    channel.pending = []
    channel.pendingBytes = 0
    let sent = 0
    for (const [wire, connections] of channel.live) {
      const packet = wire.packet(frames.map(frame => wire.alert(frame)))
      for (const connection of connections) {
        if (connection.backlog > this.#options.maxQueuedBytes) this.#tooSlow(connection, before)
        else {
          this.write(connection, packet)
          sent++
        }
      }
      deliveries.inc({ kind: wire.kind }, sent * frames.length)
    }
    if (sent > 0) observe(frames)
  }

  #tooSlow(connection: Connection, cursor: string): void {
    connection.channel.leave(connection)
    connection.cursor = cursor
    connection.state = 'lagging'
    if (this.#options.slow === 'disconnect') this.end(connection, 'slow')
  }

  /** To be called when a connection's socket has taken everything. */
  drained(connection: Connection): void {
    this.#queued.delete(connection)
    connection.onDrain()
    if (connection.state !== 'lagging') return
    const reset = { reason: 'slow', from: connection.cursor, to: this.tape.mark.cursor } as const
    resets.inc({ reason: reset.reason })
    connection.write(connection.wire.packet([connection.wire.reset(reset)]))
    this.enter(connection)
  }

  /** Goes on from another place because the log has lost what comes next, and tells everybody. */
  skipTo(vector: Vector, reason: Reset['reason']): void {
    this.flush()
    const from = this.tape.mark.cursor
    this.tape.skipTo(vector)
    const reset = { reason, from, to: this.tape.mark.cursor }
    for (const connection of this.connections) {
      if (connection.state !== 'live') continue
      resets.inc({ reason })
      connection.write(connection.wire.packet([connection.wire.reset(reset)]))
    }
  }

  /** Tells the client why, and where to resume. */
  end(connection: Connection, reason: EndReason, retryMs = this.#options.retryMs): void {
    if (connection.state === 'ended') return
    const cursor = connection.state === 'live' ? this.tape.mark.cursor : connection.cursor
    connection.channel.leave(connection)
    connection.since = Date.now() + this.#options.lingerMs
    ended.inc({ reason })
    connection.end({ reason, cursor, retryMs })
  }

  add(connection: Connection): void {
    this.connections.add(connection)
  }

  /** To be called when a connection's socket is closed; false if it was before. */
  remove(connection: Connection): boolean {
    if (!this.connections.delete(connection)) return false
    this.#queued.delete(connection)
    connection.channel.leave(connection)
    this.channels.release(connection.channel)
    connection.closed()
    return true
  }

  /** Those who hold most are cut off while too much is queued for all together; they resume from their last id. */
  boundTotal(): void {
    let total = 0
    for (const connection of this.#queued) total += connection.backlog
    if (total > this.#options.maxTotalQueuedBytes)
      for (const connection of [...this.#queued].sort((a, b) => b.backlog - a.backlog)) {
        total -= connection.backlog
        ended.inc({ reason: 'memory' })
        connection.socket.destroy()
        if (total <= this.#options.maxTotalQueuedBytes) break
      }
    queuedBytes.set(total)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}

function observe(frames: readonly Frame[]): void {
  const now = Date.now()
  for (const { appendedAt, raisedAt } of frames) {
    deliverySeconds.observe(Math.max(0, now - appendedAt) / 1000)
    ageSeconds.observe(Math.max(0, now - raisedAt) / 1000)
  }
}
