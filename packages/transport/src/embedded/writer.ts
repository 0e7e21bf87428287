import { type Message, type Topic, WeftError, type Writer } from '../transport.ts'
import type { Appender } from './appender.ts'
import { KEY } from './keys.ts'
import type { Store } from './store.ts'
import { type Topics, titleOf } from './topics.ts'

const NAME_BYTES = 1000

/** Sequences live beside the log and change in the same transaction as it. */
export class EmbeddedWriter implements Writer {
  readonly #name: string
  readonly #epoch: number
  readonly #store: Store
  readonly #topics: Topics
  readonly #appender: Appender
  #closed = false

  /** Raises the name's epoch, and so fences whoever had it. */
  static async open(name: string, store: Store, topics: Topics, appender: Appender): Promise<EmbeddedWriter> {
    if (name === '' || Buffer.byteLength(name) > NAME_BYTES)
      throw new WeftError('INVALID', `a writer's name has 1 to ${NAME_BYTES} bytes, not ${Buffer.byteLength(name)}`)
    const epoch = await store.committer.commit(transaction => {
      const next = (store.number(KEY.writer(name)) ?? 0) + 1
      transaction.putNumber(KEY.writer(name), next)
      return next
    })
    return new EmbeddedWriter(name, epoch, store, topics, appender)
  }

  private constructor(name: string, epoch: number, store: Store, topics: Topics, appender: Appender) {
    this.#name = name
    this.#epoch = epoch
    this.#store = store
    this.#topics = topics
    this.#appender = appender
  }

  async last(topic: Topic): Promise<bigint | undefined> {
    this.#check()
    return this.#last(this.#topics.resolve(topic).id)
  }

  #last(topic: number): bigint | undefined {
    return this.#store.meta.getBinaryFast(KEY.sequence(topic, this.#name))?.readBigInt64BE(0)
  }

  async append(
    topic: Topic,
    messages: readonly { readonly sequence: bigint; readonly message: Message }[],
  ): Promise<void> {
    this.#check()
    const { id } = this.#topics.resolve(topic)
    for (let i = 1; i < messages.length; i++) {
      const [before, after] = [messages[i - 1]?.sequence as bigint, messages[i]?.sequence as bigint]
      if (after <= before)
        throw new WeftError('INVALID', `writer "${this.#name}": sequences must rise, but ${after} follows ${before}`)
    }
    const whole = this.#appender.prepare(
      topic,
      messages.map(({ message }) => message),
    )
    const highest = messages.at(-1)?.sequence
    if (highest === undefined) return
    await this.#store.committer.commit(transaction => {
      if (this.#store.number(KEY.writer(this.#name)) !== this.#epoch)
        throw new WeftError('FENCED', `writer "${this.#name}" of "${titleOf(topic)}" was taken over`)
      const last = this.#last(id)
      const fresh = last === undefined ? messages : messages.filter(({ sequence }) => sequence > last)
      if (fresh.length === 0) return
      const all = fresh.length === messages.length
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
      transaction.put(KEY.sequence(id, this.#name), bytes)
    })
  }

  #check(): void {
    if (this.#closed) throw new WeftError('CLOSED', `writer "${this.#name}" was closed`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
  }
}
