import { titleOf } from '../checks.ts'
import { type Message, type Topic, WeftError, type Writer } from '../transport.ts'
import type { Appender } from './appender.ts'
import { KEY } from './keys.ts'
import type { Store } from './store.ts'
import type { Topics } from './topics.ts'

const NAME_BYTES = 1000

/** Sequences live beside the log and change in the same transaction as it. */
export class EmbeddedWriter implements Writer {
  readonly #name: string
  /** The name among all tenants'. */
  readonly #key: string
  readonly #epoch: number
  readonly #store: Store
  readonly #topics: Topics
  readonly #appender: Appender
  readonly #transportClosed: AbortSignal
  #closed = false

  /** Raises the name's epoch, and so fences whoever had it. */
  static async open(
    name: string,
    store: Store,
    topics: Topics,
    appender: Appender,
    closed: AbortSignal,
  ): Promise<EmbeddedWriter> {
    if (name === '' || Buffer.byteLength(name) > NAME_BYTES)
      throw new WeftError('INVALID', `a writer's name has 1 to ${NAME_BYTES} bytes, not ${Buffer.byteLength(name)}`)
    const key = topics.own(name)
    const epoch = await store.committer.commit(transaction => {
      const next = (store.number(KEY.writer(key)) ?? 0) + 1
      transaction.putNumber(KEY.writer(key), next)
      return next
    })
    return new EmbeddedWriter(name, key, epoch, store, topics, appender, closed)
  }

  private constructor(
    name: string,
    key: string,
    epoch: number,
    store: Store,
    topics: Topics,
    appender: Appender,
    closed: AbortSignal,
  ) {
    this.#name = name
    this.#key = key
    this.#epoch = epoch
    this.#store = store
    this.#topics = topics
    this.#appender = appender
    this.#transportClosed = closed
  }

  async last(topic: Topic): Promise<bigint | undefined> {
    this.#check()
    return this.#last(this.#topics.resolve(topic).id)
  }

  #last(topic: number): bigint | undefined {
    return this.#store.get(KEY.sequence(topic, this.#key))?.readBigInt64BE(0)
  }

  async append(
    topic: Topic,
    messages: readonly { readonly sequence: bigint; readonly message: Message }[],
  ): Promise<void> {
    this.#check()
    const { id } = this.#topics.resolve(topic)
    const rising = above(messages, undefined)
    const whole = this.#appender.prepare(
      topic,
      rising.map(({ message }) => message),
    )
    const highest = rising.at(-1)?.sequence
    if (highest === undefined) return
    if (BigInt.asIntN(64, highest) !== highest)
      throw new WeftError('INVALID', `writer "${this.#name}": a sequence has 64 bits, ${highest} has more`)
    await this.#store.committer.commit(transaction => {
      if (this.#store.number(KEY.writer(this.#key)) !== this.#epoch)
        throw new WeftError('FENCED', `writer "${this.#name}" of "${titleOf(topic)}" was taken over`)
      const fresh = above(rising, this.#last(id))
      if (fresh.length === 0) return
      this.#appender.reserve(transaction, [whole])
      const all = fresh.length === rising.length
      this.#appender.apply(
        transaction,
        all
          ? whole
          : this.#appender.prepare(
              topic,
              fresh.map(({ message }) => message),
            ),
      )
      const bytes = Buffer.allocUnsafe(8)
      bytes.writeBigInt64BE(highest)
      transaction.put(KEY.sequence(id, this.#key), bytes)
    })
  }

  #check(): void {
    if (this.#closed || this.#transportClosed.aborted)
      throw new WeftError('CLOSED', `writer "${this.#name}" was closed`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
  }
}

/** Those whose sequence is above all that came before it. */
function above<M extends { readonly sequence: bigint }>(
  messages: readonly M[],
  last: bigint | undefined,
): readonly M[] {
  let highest = last
  return messages.filter(({ sequence }) => {
    if (highest !== undefined && sequence <= highest) return false
    highest = sequence
    return true
  })
}
