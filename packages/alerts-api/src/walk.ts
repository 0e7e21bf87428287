import type { Frame } from './frame.ts'
import type { Ring } from './ring.ts'
import type { Vector } from './vector.ts'

/**
 * The way of one reader through the ring, from its own vector to where it can share frames with everybody.
 *
 * Its vector may come from an instance that merged the partitions in another order, and so be ahead of the shared order
 * in some partitions and behind in others. It is kept exact: what lies at or before it has been given (or was filtered),
 * what lies after it has not. Once the shared order has passed it in every partition both are the same, and for ever.
 */
export class Walk {
  readonly vector: Vector
  /** Number of the next frame to look at. */
  next: number
  readonly #ring: Ring
  /** Partitions in which the vector lies beyond what the shared order had reached before `next`. */
  readonly #ahead = new Set<number>()

  /** The ring must cover the vector. */
  constructor(ring: Ring, vector: Vector) {
    this.#ring = ring
    this.vector = [...vector]
    this.next = ring.first
    for (const [partition, at] of this.vector.entries())
      if (ring.compare(partition, at, ring.base[partition] as string) > 0) this.#ahead.add(partition)
  }

  /** False when the ring has dropped what this reader still needs: it must be read from the log, after `vector`. */
  get possible(): boolean {
    return this.next >= this.#ring.first
  }

  /** Whether the shared order has passed the vector everywhere: the shared cursors are true for this reader. */
  get shares(): boolean {
    return this.#ahead.size === 0
  }

  /** The next frame up to and without number `end` that this reader has not had; undefined when there is none. */
  step(end: number): Frame | undefined {
    while (this.next < end) {
      const frame = this.#ring.at(this.next++)
      if (this.#isNew(frame)) {
        this.vector[frame.partition] = frame.at
        return frame
      }
    }
    return undefined
  }

  /** Tells where the shared order stands at `end`, records that are no alerts included. */
  settle(shared: Vector): void {
    for (const partition of this.#ahead)
      if (this.#ring.compare(partition, shared[partition] as string, this.vector[partition] as string) >= 0)
        this.#ahead.delete(partition)
  }

  #isNew(frame: Frame): boolean {
    if (!this.#ahead.has(frame.partition)) return true
    const order = this.#ring.compare(frame.partition, frame.at, this.vector[frame.partition] as string)
    if (order >= 0) this.#ahead.delete(frame.partition)
    return order > 0
  }
}
