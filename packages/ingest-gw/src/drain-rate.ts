/** Half of what the rate is told by is younger than this. */
const HALF_LIFE_MS = 2000
const UNKNOWN = 1 << 20

/** How fast something took bytes lately, while it had any to take: idle time does not count. */
export class DrainRate {
  #bytes = 0
  #ms = 0
  #until = Number.NEGATIVE_INFINITY

  /** Instants in milliseconds of one clock; what overlaps, as appends under way at once do, shares the time. */
  took(bytes: number, from: number, until: number): void {
    const ms = Math.max(0, until - Math.max(from, this.#until))
    const keep = 0.5 ** (ms / HALF_LIFE_MS)
    this.#bytes = this.#bytes * keep + bytes
    this.#ms = this.#ms * keep + ms
    this.#until = Math.max(until, this.#until)
  }

  /** 1 MiB before anything is known. */
  get bytesPerSecond(): number {
    return this.#ms > 0 ? (this.#bytes / this.#ms) * 1000 : UNKNOWN
  }
}
