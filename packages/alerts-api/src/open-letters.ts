/** Ids kept in memory; letters beyond are counted without telling one from the other. */
const MOST_IDS = 100_000

/** The dead letters of one tenant that nobody has retried or discarded yet. */
export class OpenLetters {
  readonly #ids = new Set<string>()
  #others = 0

  get count(): number {
    return this.#ids.size + this.#others
  }

  add(id: string): void {
    if (this.#ids.size < MOST_IDS) this.#ids.add(id)
    else this.#others++
  }

  /** One that is not open any more; asked again, or of a letter that is gone, it changes nothing. */
  settle(id: string): void {
    if (!this.#ids.delete(id)) this.#others = Math.max(0, this.#others - 1)
  }
}
