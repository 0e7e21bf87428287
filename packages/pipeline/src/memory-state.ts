import type { StateAccess } from './state.ts'

/** The state of one partition in memory, its keys in the order of their bytes. */
export class MemoryState implements StateAccess {
  readonly #stores = new Map<string, MemoryStore>()

  get(store: string, key: Uint8Array): Uint8Array | undefined {
    return this.#stores.get(store)?.entries.get(latin1(key))
  }

  set(store: string, key: Uint8Array, value: Uint8Array | undefined): void {
    const found = this.#stores.get(store) ?? new MemoryStore()
    this.#stores.set(store, found)
    const name = latin1(key)
    if (value === undefined) found.entries.delete(name)
    else {
      if (!found.entries.has(name)) found.added.push(name)
      found.entries.set(name, value)
    }
  }

  *range(store: string, from: Uint8Array, to: Uint8Array): Generator<readonly [Uint8Array, Uint8Array]> {
    const found = this.#stores.get(store)
    if (!found) return
    found.sort()
    const [low, high] = [latin1(from), latin1(to)]
    for (let at = found.first(low); at < found.keys.length; at++) {
      const name = found.keys[at] as string
      if (name >= high) return
      const value = found.entries.get(name)
      if (value) yield [Buffer.from(name, 'latin1'), value]
    }
  }

  get size(): number {
    return [...this.#stores.values()].reduce((sum, { entries }) => sum + entries.size, 0)
  }
}

class MemoryStore {
  readonly entries = new Map<string, Uint8Array>()
  /** Sorted; may hold some that were deleted since. */
  keys: string[] = []
  added: string[] = []

  sort(): void {
    if (this.added.length === 0) return
    const added = this.added.sort()
    const merged: string[] = []
    let next = 0
    const push = (key: string) => {
      if (merged.at(-1) !== key && this.entries.has(key)) merged.push(key)
    }
    for (const key of this.keys) {
      for (; next < added.length && (added[next] as string) <= key; next++) push(added[next] as string)
      push(key)
    }
    for (; next < added.length; next++) push(added[next] as string)
    this.keys = merged
    this.added = []
  }

  /** Where the first key from `low` on is. */
  first(low: string): number {
    let [from, to] = [0, this.keys.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if ((this.keys[middle] as string) < low) from = middle + 1
      else to = middle
    }
    return from
  }
}

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
