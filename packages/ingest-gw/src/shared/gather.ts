interface Waiting<Item, Result> {
  readonly items: readonly Item[]
  readonly resolve: (results: readonly Result[] | undefined) => void
}

/**
 * One call at a time, and the next one carries all that was asked meanwhile, up to `most` items and a request at least.
 * `run` answers an item each, in order, or undefined for none of them.
 */
export class Gather<Item, Result> {
  readonly #run: (items: readonly Item[]) => Promise<readonly Result[] | undefined>
  readonly #most: number
  #queue: Waiting<Item, Result>[] = []
  #running: Promise<void> | undefined

  constructor(run: (items: readonly Item[]) => Promise<readonly Result[] | undefined>, most = 2000) {
    this.#run = run
    this.#most = most
  }

  ask(items: readonly Item[]): Promise<readonly Result[] | undefined> {
    return new Promise(resolve => {
      this.#queue.push({ items, resolve })
      this.#running ??= this.#runAll()
    })
  }

  /** Resolves when nothing is asked any more. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #runAll(): Promise<void> {
    await Promise.resolve()
    while (this.#queue.length > 0) {
      let count = 0
      let items = 0
      for (const waiting of this.#queue) {
        items += waiting.items.length
        if (count > 0 && items > this.#most) break
        count++
      }
      const taken = this.#queue.splice(0, count)
      const results = await this.#run(taken.flatMap(waiting => waiting.items))
      let from = 0
      for (const { items, resolve } of taken) {
        resolve(results?.slice(from, from + items.length))
        from += items.length
      }
    }
    this.#running = undefined
  }
}
