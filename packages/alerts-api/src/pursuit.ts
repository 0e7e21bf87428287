import { CursorText, encodeCursor } from './cursor.ts'
import { type Filter, matches } from './filter.ts'
import { type Alert, Frame } from './frame.ts'
import type { Tape } from './tape.ts'
import type { Vector } from './vector.ts'
import { Walk } from './walk.ts'

/** A record of the alerts' topic; `alert` is undefined for a tick and for what cannot be decoded. */
export interface Logged {
  readonly partition: number
  readonly at: string
  readonly appendedAt: number
  readonly alert: Alert | undefined
}

/** Reads the log after a vector, for ever. Throws POSITION_GONE when what follows it was removed. */
export type Replay = (after: Vector, signal: AbortSignal) => AsyncIterable<readonly Logged[]>

/** A frame to be given, with the reader's own cursor after it where the shared one is not true for this reader. */
export interface Piece {
  readonly frame: Frame
  readonly cursor: string | undefined
}

/**
 * One reader's way from where it stands to the shared order, first from the log as far as the ring does not reach back,
 * then through the ring. Pull until `arrived`, then join at the mark in the same turn of the event loop.
 */
export class Pursuit {
  readonly #tape: Tape
  readonly #replay: Replay
  readonly #filter: Filter
  readonly #stop = new AbortController()
  readonly #stopped = Promise.withResolvers<void>()
  #vector: Vector
  #walk: Walk | undefined
  #log: AsyncIterator<readonly Logged[]> | undefined

  constructor(tape: Tape, replay: Replay, filter: Filter, vector: Vector) {
    this.#tape = tape
    this.#replay = replay
    this.#filter = filter
    this.#vector = [...vector]
    this.#enterRing()
  }

  /** All that lies at or before it was pulled or filtered. */
  get vector(): Vector {
    return this.#walk?.vector ?? this.#vector
  }

  get cursor(): string {
    return this.arrived ? this.#tape.mark.cursor : encodeCursor(this.#tape.cluster, this.vector)
  }

  /** Nothing is known here that was not pulled, though this reader may have seen more elsewhere. */
  get caughtUp(): boolean {
    return this.#walk?.next === this.#tape.mark.end
  }

  /** Stands at the mark: the shared frames and cursors from there on are true for this reader. */
  get arrived(): boolean {
    if (!this.#walk || !this.caughtUp) return false
    if (!this.#walk.shares) this.#walk.settle(this.#tape.mark.vector)
    return this.#walk.shares
  }

  /**
   * The next pieces, of about `maxBytes`; waits when there is nothing yet, and may give none. Throws POSITION_GONE:
   * see `skipTo`. Not to be called while a call is pending.
   */
  async pull(maxBytes: number): Promise<Piece[]> {
    if (this.#walk && !this.#walk.possible) this.#leaveRing()
    if (!this.#walk && !this.#enterRing()) return this.#pullLog()
    const pieces = this.#pullRing(maxBytes)
    if (pieces.length === 0 && this.caughtUp && !this.arrived)
      await Promise.race([this.#tape.marked, this.#stopped.promise])
    return pieces
  }

  /** Goes on from another place, after a POSITION_GONE. */
  skipTo(vector: Vector): void {
    this.#walk = undefined
    this.#log = undefined
    this.#vector = [...vector]
    this.#enterRing()
  }

  /** Ends a pull that waits, and the reading of the log. */
  stop(): void {
    this.#stop.abort()
    this.#stopped.resolve()
    // It may have failed already, which whoever pulled was told.
    this.#log?.return?.()?.catch(() => {})
  }

  #enterRing(): boolean {
    if (!this.#tape.ring.covers(this.#vector)) return false
    this.#walk = new Walk(this.#tape.ring, this.#vector)
    return true
  }

  #leaveRing(): void {
    this.#vector = this.vector
    this.#walk = undefined
  }

  #pullRing(maxBytes: number): Piece[] {
    const walk = this.#walk as Walk
    const pieces: Piece[] = []
    let bytes = 0
    while (bytes < maxBytes) {
      const frame = walk.step(this.#tape.mark.end)
      if (!frame) break
      if (!matches(this.#filter, frame)) continue
      pieces.push({ frame, cursor: walk.shares ? undefined : encodeCursor(this.#tape.cluster, walk.vector) })
      bytes += frame.bytes
    }
    return pieces
  }

  async #pullLog(): Promise<Piece[]> {
    this.#log ??= this.#replay([...this.#vector], this.#stop.signal)[Symbol.asyncIterator]()
    const { value, done } = await this.#log.next()
    if (done) return []
    const text = new CursorText(this.#tape.cluster, this.#vector)
    const pieces: Piece[] = []
    for (const { partition, at, appendedAt, alert } of value) {
      this.#vector[partition] = at
      text.set(partition, at)
      if (!alert) continue
      const frame = new Frame(alert, { partition, at, appendedAt, cursor: text.toString() })
      if (matches(this.#filter, frame)) pieces.push({ frame, cursor: undefined })
    }
    if (this.#enterRing()) {
      const log = this.#log
      this.#log = undefined
      await log.return?.()
    }
    return pieces
  }
}
