import { bytes, type Transaction, text } from '@weft/transport'
import { Packr } from 'msgpackr'

const packr = new Packr({ useRecords: false })

export type StateAccess = Pick<Transaction, 'get' | 'set' | 'range'>

/** Keyed state of one stage and partition. What `get` returns may be changed and must then be `set`. */
export interface Keyed<Value> {
  get(key: string): Value | undefined
  /** undefined deletes. */
  set(key: string, value: Value | undefined): void
  /** From `from` up to and without `to`, in the order of the keys' bytes. */
  range(from: string, to: string): Iterable<readonly [key: string, value: Value]>
}

/** Decodes each value once a transaction and writes it back once, at its end. */
export class StateStore<Value> implements Keyed<Value> {
  readonly #transaction: StateAccess
  readonly #store: string
  readonly #values = new Map<string, Value | undefined>()
  readonly #changed = new Set<string>()

  constructor(transaction: StateAccess, store: string) {
    this.#transaction = transaction
    this.#store = store
  }

  get(key: string): Value | undefined {
    if (this.#values.has(key)) return this.#values.get(key)
    const stored = this.#transaction.get(this.#store, bytes(key))
    const value = stored === undefined ? undefined : (packr.unpack(stored) as Value)
    this.#values.set(key, value)
    return value
  }

  set(key: string, value: Value | undefined): void {
    this.#values.set(key, value)
    this.#changed.add(key)
  }

  *range(from: string, to: string): Iterable<readonly [string, Value]> {
    const [low, high] = [Buffer.from(from), Buffer.from(to)]
    const own = [...this.#changed]
      .map(key => ({ key, bytes: Buffer.from(key) }))
      .filter(each => each.bytes.compare(low) >= 0 && each.bytes.compare(high) < 0)
      .sort((a, b) => b.bytes.compare(a.bytes))
    for (const [storedKey, stored] of this.#transaction.range(this.#store, low, high)) {
      for (let head = own.at(-1); head && head.bytes.compare(storedKey) < 0; head = own.at(-1)) {
        own.pop()
        yield* this.#present(head.key)
      }
      const key = text(storedKey)
      if (this.#changed.has(key)) continue
      if (!this.#values.has(key)) this.#values.set(key, packr.unpack(stored) as Value)
      yield* this.#present(key)
    }
    for (const { key } of own.reverse()) yield* this.#present(key)
  }

  *#present(key: string): Iterable<readonly [string, Value]> {
    const value = this.#values.get(key)
    if (value !== undefined) yield [key, value]
  }

  flush(): void {
    for (const key of this.#changed) {
      const value = this.#values.get(key)
      this.#transaction.set(this.#store, bytes(key), value === undefined ? undefined : packr.pack(value))
    }
    this.#changed.clear()
  }
}
