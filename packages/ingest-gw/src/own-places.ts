import type { Position, Transport } from '@weft/transport'

/** What this process appended to a partition and has not read back yet: ids by their places, in the order of the log. */
export class OwnPlaces {
  readonly #compare: Transport['compare']
  #places: Position[] = []
  #ids: string[] = []
  #next = 0

  constructor(compare: Transport['compare']) {
    this.#compare = compare
  }

  add(position: Position, id: string): void {
    const last = this.#places.at(-1)
    if (last === undefined || this.#compare(last, position) < 0) {
      this.#places.push(position)
      this.#ids.push(id)
      return
    }
    // Only appends under way at the same time can end in another order than that of the log.
    const at = this.#places.findIndex((other, index) => index >= this.#next && this.#compare(other, position) > 0)
    this.#places.splice(at, 0, position)
    this.#ids.splice(at, 0, id)
  }

  /** The id at that place, once; undefined if it is none of ours. Asked for the places of the partition in order. */
  take(position: Position): string | undefined {
    if (this.#places[this.#next]?.at !== position.at) return undefined
    const id = this.#ids[this.#next++]
    if (this.#next === this.#places.length || this.#next >= 10_000) {
      this.#places = this.#places.slice(this.#next)
      this.#ids = this.#ids.slice(this.#next)
      this.#next = 0
    }
    return id
  }
}
