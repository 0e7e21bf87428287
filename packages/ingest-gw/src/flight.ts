/** The events that one request is appending; others that sent the same ids wait for it. */
export class Flight {
  #stored: boolean | undefined
  #settled: PromiseWithResolvers<boolean> | undefined

  settle(stored: boolean): void {
    this.#stored = stored
    this.#settled?.resolve(stored)
  }

  /** Whether they were stored. Made only when somebody waits: nearly always nobody does. */
  settled(): Promise<boolean> {
    if (this.#stored !== undefined) return Promise.resolve(this.#stored)
    this.#settled ??= Promise.withResolvers<boolean>()
    return this.#settled.promise
  }
}
