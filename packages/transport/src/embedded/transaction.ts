import { DEAD_LETTER_BYTES } from '../dead-letters.ts'
import type { OpenTransaction } from '../processing.ts'
import { type AppendOptions, type Message, type Topic, WeftError } from '../transport.ts'
import type { Appender, Prepared } from './appender.ts'
import { MAX_MESSAGE_BYTES } from './batch.ts'
import type { Claim, Member } from './groups.ts'
import { KEY, STATE_KEY_BYTES, statePrefix } from './keys.ts'
import type { Store } from './store.ts'

const RANGE_STEP = 200

/** State changes of a transaction that are not in the store yet, by the store's key in latin1. */
type Overlay = Map<string, Uint8Array | undefined>

/**
 * One batch's outputs, state and positions. State is read from the store under what the transaction itself has set: a
 * partition has one owner, whose transactions follow each other.
 */
export class EmbeddedTransaction implements OpenTransaction {
  readonly partition: number
  readonly signal: AbortSignal
  readonly #store: Store
  readonly #appender: Appender
  readonly #member: Member
  readonly #claim: Claim
  /** Per topic id the offset behind what is consumed. */
  readonly #consumed: ReadonlyMap<number, number>
  #outputs: Prepared[] = []
  #state: Overlay = new Map()
  readonly #prefixes = new Map<string, Buffer>()
  #open = true
  readonly #committed: () => void

  constructor(
    store: Store,
    appender: Appender,
    member: Member,
    claim: Claim,
    consumed: ReadonlyMap<number, number>,
    committed: () => void,
  ) {
    this.#store = store
    this.#appender = appender
    this.#member = member
    this.#claim = claim
    this.#consumed = consumed
    this.#committed = committed
    this.partition = claim.partition
    this.signal = claim.signal
  }

  append(topic: Topic, messages: readonly Message[], options?: AppendOptions): void {
    this.#check()
    if (messages.length > 0) this.#outputs.push(this.#appender.prepare(topic, messages, options))
  }

  bury(topic: Topic, letter: Message): void {
    this.#outputs.push(this.#appender.prepare(topic, [letter], { maxBytes: MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES }))
  }

  get(store: string, key: Uint8Array): Uint8Array | undefined {
    this.#check()
    const at = this.#stateKey(store, key)
    const name = at.toString('latin1')
    const own = this.#state.get(name)
    if (own !== undefined || this.#state.has(name)) return own
    return this.#store.state.getBinary(at)
  }

  set(store: string, key: Uint8Array, value: Uint8Array | undefined): void {
    this.#check()
    this.#state.set(this.#stateKey(store, key).toString('latin1'), value && Uint8Array.from(value))
  }

  *range(store: string, from: Uint8Array, to: Uint8Array): Generator<readonly [Uint8Array, Uint8Array]> {
    this.#check()
    const start = this.#stateKey(store, from)
    const end = this.#stateKey(store, to)
    const prefix = start.length - from.length
    if (Buffer.compare(start, end) >= 0) return
    const [low, high] = [start.toString('latin1'), end.toString('latin1')]
    const own = [...this.#state].filter(([name]) => name >= low && name < high).sort(([a], [b]) => (a < b ? -1 : 1))
    let next = 0
    for (const [key, value] of this.#stored(start, end)) {
      const name = key.toString('latin1')
      for (; next < own.length && (own[next] as [string, unknown])[0] < name; next++) yield* pair(own[next], prefix)
      if (own[next]?.[0] === name) yield* pair(own[next++], prefix)
      else yield [key.subarray(prefix), value]
    }
    for (; next < own.length; next++) yield* pair(own[next], prefix)
  }

  /** In steps, so that whoever stops half-way leaves no snapshot of the store open. */
  *#stored(start: Buffer, end: Buffer): Generator<readonly [Buffer, Buffer]> {
    for (let from = start; ; ) {
      const step = [...this.#store.state.getRange({ start: from, end, limit: RANGE_STEP })]
      for (const { key, value } of step) yield [key, value]
      const last = step.at(-1)?.key
      if (!last || step.length < RANGE_STEP) return
      from = Buffer.concat([last, Buffer.alloc(1)])
    }
  }

  async commit(): Promise<void> {
    this.#check()
    this.#open = false
    await this.#store.committer.commit(transaction => {
      this.#member.check(this.#claim)
      this.#appender.reserve(transaction, this.#outputs)
      for (const prepared of this.#outputs) this.#appender.apply(transaction, prepared)
      for (const [name, value] of this.#state) transaction.putState(Buffer.from(name, 'latin1'), value)
      for (const [topic, offset] of this.#consumed)
        transaction.putNumber(KEY.position(this.#member.group, topic, this.partition), offset)
    })
    this.#committed()
  }

  abort(): void {
    this.#open = false
    this.#outputs = []
    this.#state = new Map()
  }

  #check(): void {
    if (!this.#open)
      throw new WeftError('INVALID', 'this transaction has ended: use it only within its call of process')
  }

  #stateKey(store: string, key: Uint8Array): Buffer {
    let prefix = this.#prefixes.get(store)
    if (!prefix) {
      prefix = statePrefix(this.#member.group, this.partition, store)
      this.#prefixes.set(store, prefix)
    }
    const size = prefix.length + key.length
    if (size > STATE_KEY_BYTES)
      throw new WeftError(
        'TOO_LARGE',
        `a state key with its store's name has ${size - 7} bytes: at most ${STATE_KEY_BYTES - 7}`,
      )
    const bytes = Buffer.allocUnsafe(size)
    bytes.set(prefix)
    bytes.set(key, prefix.length)
    return bytes
  }
}

function* pair(
  entry: [string, Uint8Array | undefined] | undefined,
  prefix: number,
): Generator<readonly [Uint8Array, Uint8Array]> {
  if (entry?.[1]) yield [Buffer.from(entry[0], 'latin1').subarray(prefix), entry[1]]
}
