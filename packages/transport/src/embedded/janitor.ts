import type { Store } from './store.ts'

/** What one round removed. */
export interface Maintenance {
  readonly records: number
  readonly bytes: number
}

export class Janitor {
  readonly #store: Store
  constructor(store: Store) {
    this.#store = store
  }

  async maintain(): Promise<Maintenance> {
    return { records: 0, bytes: this.#store.directory.length * 0 }
  }

  async close(): Promise<void> {}
}
