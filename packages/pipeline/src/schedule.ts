import { bytes, text } from '@weft/transport'
import { type StateAccess, StateStore } from './state.ts'

/** Values that fall due at a time; time and id name one. */
export interface Schedule<Value> {
  get(at: number, id: string): Value | undefined
  /** undefined takes it out. A time that has passed falls due at once, before the next record. */
  set(at: number, id: string, value: Value | undefined): void
}

const WIDTH = 9
/** A time as text whose order is the time's, until the year 5188. */
const stamp = (at: number): string => at.toString(36).padStart(WIDTH, '0')
const timeOf = (key: string): number => Number.parseInt(key.slice(0, WIDTH), 36)

/** Before every schedule's first and behind its last key. */
const [FIRST, LAST] = [bytes(''), bytes('~')]

/** Kept in the order of time in the state: what was stored before is walked by one cursor, what is new waits in a heap. */
export class StateSchedule<Value> implements Schedule<Value> {
  readonly #transaction: StateAccess
  readonly #name: string
  readonly #store: StateStore<Value>
  readonly #added = new Heap()
  #cursor: Iterator<readonly [Uint8Array, Uint8Array]> | undefined
  #stored: string | undefined
  #floor: number

  /** `floor`: before this time nothing is due. */
  constructor(transaction: StateAccess, name: string, floor = 0) {
    this.#transaction = transaction
    this.#name = name
    this.#store = new StateStore(transaction, name)
    this.#floor = floor
  }

  /** To be remembered for the next transaction, so that it need not look. */
  get floor(): number {
    return this.#floor
  }

  get(at: number, id: string): Value | undefined {
    return this.#store.get(stamp(at) + id)
  }

  set(at: number, id: string, value: Value | undefined): void {
    const key = stamp(at) + id
    if (value !== undefined) this.#floor = Math.min(this.#floor, at)
    if (value !== undefined && this.#store.get(key) === undefined) this.#added.push(key)
    this.#store.set(key, value)
  }

  /** Takes the earliest entry that is due by `now` out, equal times in the order of their ids' bytes; undefined if none is. */
  take(now: number): { at: number; id: string; value: Value } | undefined {
    if (now < this.#floor) return undefined
    for (;;) {
      if (!this.#cursor) this.#advance()
      const added = this.#added.first
      const fromStore = added === undefined || (this.#stored !== undefined && byBytes(this.#stored, added) <= 0)
      const key = fromStore ? this.#stored : added
      this.#floor = key === undefined ? Number.POSITIVE_INFINITY : timeOf(key)
      if (key === undefined || this.#floor > now) return undefined
      if (fromStore) this.#advance()
      if (key === added) this.#added.pop()
      const value = this.#store.get(key)
      if (value === undefined) continue
      this.#store.set(key, undefined)
      return { at: timeOf(key), id: key.slice(WIDTH), value }
    }
  }

  #advance(): void {
    this.#cursor ??= this.#transaction.range(this.#name, FIRST, LAST)[Symbol.iterator]()
    const next = this.#cursor.next()
    this.#stored = next.done ? undefined : text(next.value[0])
  }

  flush(): void {
    this.#cursor?.return?.()
    this.#store.flush()
  }
}

/** The order of the keys in the store, which is not that of UTF-16 units beyond the basic plane. */
function byBytes(a: string, b: string): number {
  if (a === b) return 0
  const [timeA, timeB] = [a.slice(0, WIDTH), b.slice(0, WIDTH)]
  if (timeA !== timeB) return timeA < timeB ? -1 : 1
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** A binary heap of keys, the earliest on top. */
class Heap {
  readonly #keys: string[] = []

  get first(): string | undefined {
    return this.#keys[0]
  }

  push(key: string): void {
    const keys = this.#keys
    let at = keys.push(key) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (byBytes(keys[parent] as string, key) <= 0) break
      keys[at] = keys[parent] as string
      at = parent
    }
    keys[at] = key
  }

  pop(): void {
    const keys = this.#keys
    const key = keys.pop()
    if (key === undefined || keys.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= keys.length) break
      if (child + 1 < keys.length && byBytes(keys[child + 1] as string, keys[child] as string) < 0) child++
      if (byBytes(key, keys[child] as string) <= 0) break
      keys[at] = keys[child] as string
      at = child
    }
    keys[at] = key
  }
}
