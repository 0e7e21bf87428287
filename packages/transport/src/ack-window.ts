/**
 * Which of a partition's messages were handed out and which of them are settled. Settling may come in any order; `low` is
 * the place before which everything is settled, and so the one that may be committed.
 */
export class AckWindow<Place> {
  readonly #open: { place: Place; settled: boolean }[] = []
  #head = 0
  #low: Place

  constructor(low: Place) {
    this.#low = low
  }

  /** The last place of which nothing at or before is unsettled. */
  get low(): Place {
    return this.#low
  }

  /** Handed out and not yet behind `low`. */
  get size(): number {
    return this.#open.length - this.#head
  }

  /** Notes that a message was handed out, in the order of the log; the function returned settles it. */
  add(place: Place): () => boolean {
    const entry = { place, settled: false }
    this.#open.push(entry)
    return () => {
      entry.settled = true
      return this.#advance()
    }
  }

  /** True if `low` moved. */
  #advance(): boolean {
    const before = this.#head
    for (let entry = this.#open[this.#head]; entry?.settled; entry = this.#open[this.#head]) {
      this.#low = entry.place
      this.#head++
    }
    const moved = this.#head > before
    if (this.#head > 1024 && this.#head * 2 > this.#open.length) {
      this.#open.splice(0, this.#head)
      this.#head = 0
    }
    return moved
  }
}
