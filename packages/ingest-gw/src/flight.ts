/** The events that one request is appending, or has appended; others that sent the same ids wait for it. */
export class Flight {
  /** Milliseconds since the epoch at which they were stored; 0 when that failed; undefined while they are under way. */
  storedAt: number | undefined
  #settled: PromiseWithResolvers<boolean> | undefined

  settle(storedAt: number): void {
    this.storedAt = storedAt
    this.#settled?.resolve(storedAt > 0)
  }

  /** Whether they were stored. Made only when somebody waits: nearly always nobody does. */
  settled(): Promise<boolean> {
    if (this.storedAt !== undefined) return Promise.resolve(this.storedAt > 0)
    this.#settled ??= Promise.withResolvers<boolean>()
    return this.#settled.promise
  }
}
