import { CursorText } from './cursor.ts'
import { type Alert, Frame } from './frame.ts'
import { Ring } from './ring.ts'
import type { Compare, Vector } from './vector.ts'

/** Where the shared order stood when its frames were last sent out. */
export interface Mark {
  /** Number of the first frame that was not sent yet. */
  readonly end: number
  readonly vector: Vector
  readonly cursor: string
}

/**
 * The shared order of one instance: its merge of the partitions, the frames it made of them, and the mark up to which
 * they were sent out. Whoever joins the shared order does so exactly at the mark.
 */
export class Tape {
  readonly cluster: string
  readonly compare: Compare
  readonly ring: Ring
  readonly vector: Vector
  readonly #text: CursorText
  #mark: Mark
  #marked = Promise.withResolvers<void>()

  constructor(cluster: string, start: Vector, compare: Compare, ringBytes: number) {
    this.cluster = cluster
    this.compare = compare
    this.vector = [...start]
    this.ring = new Ring(start, compare, ringBytes)
    this.#text = new CursorText(cluster, start)
    this.#mark = { end: 0, vector: [...start], cursor: this.#text.toString() }
  }

  get mark(): Mark {
    return this.#mark
  }

  /** Resolves at the next mark. */
  get marked(): Promise<void> {
    return this.#marked.promise
  }

  /** Takes a record of the log; one that is no alert (a tick, say) only moves the vector. */
  push(place: { partition: number; at: string; appendedAt: number }, alert: Alert | undefined): Frame | undefined {
    this.vector[place.partition] = place.at
    this.#text.set(place.partition, place.at)
    if (!alert) return undefined
    const frame = new Frame(alert, { ...place, cursor: this.#text.toString() })
    this.ring.push(frame, this.#mark.end)
    return frame
  }

  /** Goes on from another place, after the log has lost what comes next. */
  skipTo(vector: Vector): void {
    this.vector.splice(0, vector.length, ...vector)
    for (const [partition, at] of vector.entries()) this.#text.set(partition, at)
    this.ring.clear(vector)
    this.setMark()
  }

  /** Sets the mark: everything pushed so far counts as sent. */
  setMark(): void {
    this.#mark = { end: this.ring.end, vector: [...this.vector], cursor: this.#text.toString() }
    const { resolve } = this.#marked
    this.#marked = Promise.withResolvers()
    resolve()
  }
}
