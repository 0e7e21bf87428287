/** Lets one part wait until another has rung: nothing is missed between looking and waiting, and nothing piles up. */
export class Bell {
  #rings = 0
  readonly #waiting = new Set<() => void>()

  /** How often it has rung: look at this first, then at what is awaited, then wait. */
  get rings(): number {
    return this.#rings
  }

  ring(): void {
    this.#rings++
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  /** Resolves when it has rung more than `rings` times, or after `ms` milliseconds. */
  after(rings: number, ms?: number): Promise<void> {
    if (this.#rings !== rings) return Promise.resolve()
    return new Promise(resolve => {
      const timer = ms === undefined ? undefined : setTimeout(() => done(), ms)
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        resolve()
      }
      this.#waiting.add(done)
    })
  }
}
