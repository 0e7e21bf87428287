import type { Frame } from './frame.ts'
import { type Compare, covers, type Vector } from './vector.ts'

/**
 * The most recent frames in the shared order, bounded by their bytes. It holds every alert after `base`, and so it can
 * serve whoever stands at or after `base` in each partition.
 */
export class Ring {
  readonly compare: Compare
  readonly base: Vector
  readonly #maxBytes: number
  #frames: Frame[] = []
  /** Index in #frames of the oldest kept: shifting each time would copy. */
  #head = 0
  #first = 0
  #bytes = 0

  constructor(base: Vector, compare: Compare, maxBytes: number) {
    this.base = [...base]
    this.compare = compare
    this.#maxBytes = maxBytes
  }

  /** Number of the oldest frame kept: frames are numbered in the shared order from 0 on. */
  get first(): number {
    return this.#first
  }

  /** Number that the next frame will have. */
  get end(): number {
    return this.#first + this.#frames.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  at(number: number): Frame {
    return this.#frames[this.#head + number - this.#first] as Frame
  }

  /** Frames from number `keep` on stay, whatever their size. */
  push(frame: Frame, keep = this.end): void {
    this.#frames.push(frame)
    // Twice: the WebSocket form, made on demand, is about as large.
    this.#bytes += 2 * frame.bytes
    while (this.#bytes > this.#maxBytes && this.#first < keep) this.#evict()
  }

  /** Whether nothing after `vector` has left the ring. */
  covers(vector: Vector): boolean {
    return covers(vector, this.base, this.compare)
  }

  /** Forgets everything: whoever does not stand at or after `base` must read the log. */
  clear(base: Vector): void {
    while (this.#first < this.end) this.#evict()
    this.base.splice(0, base.length, ...base)
  }

  #evict(): void {
    const frame = this.at(this.#first)
    this.#bytes -= 2 * frame.sse().length
    this.base[frame.partition] = frame.at
    this.#first++
    this.#head++
    if (this.#head < 1024 || this.#head * 2 < this.#frames.length) return
    this.#frames = this.#frames.slice(this.#head)
    this.#head = 0
  }
}
