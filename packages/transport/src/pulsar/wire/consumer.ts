import { merged, upTo } from './ack-sets.ts'
import type { Brokers } from './brokers.ts'
import type { Command, CommandOf, MessageId, Schema } from './commands.ts'
import type { Connection } from './connection.ts'
import { Entries } from './entries.ts'
import { entryOf } from './frame.ts'
import { Link } from './link.ts'
import { compareIds, type IncomingMessage, type TransactionId } from './message.ts'
import { Malformed } from './protobuf.ts'
import { PulsarError } from './pulsar-error.ts'

/** By its number in CommandSubscribe.SubType. */
export const SUBSCRIPTION_TYPE = { exclusive: 0, shared: 1, failover: 2, 'key-shared': 3 } as const

export interface ConsumerOptions {
  /** A topic without partitions, or one partition: …-partition-N. */
  readonly topic: string
  readonly subscription: string
  readonly type?: keyof typeof SUBSCRIPTION_TYPE
  /** In failover, the broker sorts by it. */
  readonly name?: string | undefined
  readonly priority?: number | undefined
  /** False: a reader; the broker forgets it when it goes, and it goes on where it was by itself. */
  readonly durable?: boolean
  /** Where a subscription begins that is not there yet. */
  readonly from?: 'earliest' | 'latest'
  /** Where a reader begins: behind this message. */
  readonly after?: MessageId | undefined
  /** The last value of each key, where the topic was compacted. */
  readonly compacted?: boolean
  /** Of key-shared: the ranges of hashes (0 to 65535) that are this consumer's; without them the broker decides. */
  readonly ranges?: readonly (readonly [start: number, end: number])[] | undefined
  readonly schema?: Schema | undefined
  readonly properties?: Readonly<Record<string, string>>
  /** Messages fetched ahead and not yet taken, at most. */
  readonly queue?: number
  readonly createTopic?: boolean
  readonly openTimeoutMs?: number
}

let consumers = 0

const NOWHERE: MessageId = { ledgerId: -1, entryId: -1 }

/** Receives from one topic or partition, over reconnections. After one, what was not acknowledged can come again. */
export class Consumer {
  readonly #options: ConsumerOptions & { queue: number }
  readonly #link: Link
  readonly #id = ++consumers
  readonly #entries = new Entries()
  #queue: IncomingMessage[] = []
  #permits = 0
  #paused = false
  #after: MessageId | undefined
  #error: PulsarError | undefined
  /** The broker tells members of a failover, and nobody else. */
  #active: boolean
  #ended = false
  #connection: Connection | undefined
  #wake = Promise.withResolvers<void>()
  readonly #failed = Promise.withResolvers<PulsarError>()

  /** Throws PulsarError, among them ConsumerBusy (exclusive, and another is there), SubscriptionNotFound, TopicNotFound. */
  static async open(brokers: Brokers, options: ConsumerOptions): Promise<Consumer> {
    const consumer = new Consumer(brokers, options)
    try {
      await consumer.#link.open(options.openTimeoutMs ?? 30_000)
    } catch (error) {
      consumer.#link.close()
      throw error
    }
    return consumer
  }

  private constructor(brokers: Brokers, { queue = 1000, ...options }: ConsumerOptions) {
    this.#options = { ...options, queue }
    this.#after = options.after
    this.#active = options.type !== 'failover'
    this.#link = new Link(brokers, {
      topic: options.topic,
      attach: connection => this.#attach(connection),
      failed: error => this.#fail(error),
    })
  }

  /** Settles when it can never receive again. */
  get failed(): Promise<PulsarError> {
    return this.#failed.promise
  }

  /** In failover: whether this one is it. */
  get isActive(): boolean {
    return this.#active
  }

  /** The topic was terminated, and all of it was delivered. */
  get hasEnded(): boolean {
    return this.#ended && this.#queue.length === 0
  }

  async #attach(connection: Connection): Promise<void> {
    const {
      topic,
      subscription,
      type = 'exclusive',
      durable = true,
      from = 'latest',
      ranges,
      properties,
      ...options
    } = this.#options
    this.#discard()
    connection.attachConsumer(this.#id, {
      command: (command, rest) => this.#heard(command, rest),
      lost: () => this.#lost(),
    })
    try {
      await connection.request(
        'subscribe',
        {
          topic,
          subscription,
          type: SUBSCRIPTION_TYPE[type],
          consumerId: this.#id,
          consumerName: options.name,
          priorityLevel: options.priority,
          durable,
          startMessageId: durable ? undefined : (this.#after ?? (from === 'earliest' ? NOWHERE : undefined)),
          metadata: properties && Object.entries(properties).map(([key, value]) => ({ key, value })),
          readCompacted: options.compacted,
          schema: options.schema,
          initialPosition: from === 'earliest' ? 1 : 0,
          forceTopicCreation: options.createTopic ?? false,
          keyShared:
            type === 'key-shared'
              ? { mode: ranges ? 1 : 0, ranges: ranges?.map(([start, end]) => ({ start, end })) }
              : undefined,
        },
        { doing: `attaching a consumer of "${subscription}" to ${topic}` },
      )
    } catch (error) {
      connection.detachConsumer(this.#id)
      if ((error as PulsarError).code === 'TimedOut')
        connection.request('closeConsumer', { consumerId: this.#id }).catch(() => {})
      throw error
    }
    this.#connection = connection
    this.#permits = 0
    this.#allow()
  }

  #lost(): void {
    this.#connection = undefined
    this.#link.lost()
  }

  /** What was fetched and not taken comes again. */
  #discard(): void {
    this.#queue = []
    this.#entries.clear()
  }

  /** Lets the broker send as many messages as there is room for. Permits count messages, of batches each one. */
  #allow(): void {
    if (this.#paused || !this.#connection) return
    const free = this.#options.queue - this.#queue.length - this.#permits
    if (free <= 0 || free < this.#options.queue / 2) return
    this.#permits += free
    this.#connection.send('flow', { consumerId: this.#id, permits: free })
  }

  #heard(command: Command, rest: Buffer): void {
    if (command.name === 'message') this.#receive(command.body, rest)
    else if (command.name === 'activeConsumerChange') this.#active = command.body.isActive ?? false
    else if (command.name === 'reachedEndOfTopic') {
      this.#ended = true
      this.#ring()
    }
  }

  #receive(command: CommandOf<'message'>, rest: Buffer): void {
    let count = 1
    try {
      const entry = entryOf(rest)
      count = entry.metadata.messagesInBatch ?? 1
      // A reader starts at an entry: what it has had of that batch is left out.
      for (const message of this.#entries.messagesOf(command, entry))
        if (!this.#after || compareIds(message.id, this.#after) > 0 || this.#options.durable !== false)
          this.#queue.push(message)
    } catch (cause) {
      if (!(cause instanceof Malformed)) throw cause
      const { ledgerId, entryId } = command.messageId
      this.#fail(
        new PulsarError('Malformed', `${this.#options.topic} at ${ledgerId}:${entryId}: ${cause.message}`, { cause }),
      )
    }
    this.#permits = Math.max(0, this.#permits - count)
    if (this.#queue.length > 0) this.#ring()
    else this.#allow()
  }

  #ring(): void {
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }

  /** All that is there, up to `most`; waits for the first. Undefined when the signal aborts, or the topic has ended. Throws PulsarError. */
  async receive({
    most = Number.POSITIVE_INFINITY,
    signal,
  }: {
    most?: number
    signal?: AbortSignal
  } = {}): Promise<readonly IncomingMessage[] | undefined> {
    const stop = () => this.#ring()
    signal?.addEventListener('abort', stop, { once: true })
    try {
      while (this.#queue.length === 0) {
        if (this.#error) throw this.#error
        if (signal?.aborted || this.#ended) return undefined
        await this.#wake.promise
      }
    } finally {
      signal?.removeEventListener('abort', stop)
    }
    const taken = this.#queue.splice(0, most)
    this.#after = taken.at(-1)?.id
    this.#allow()
    return taken
  }

  /** Nothing more is fetched, what was fetched can still be taken. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#allow()
  }

  /**
   * Resolves when the broker has noted it; in a transaction, that it will hold when that commits. Throws PulsarError:
   * ConnectionLost (it comes again, or not), TransactionConflict (another acknowledged it in its transaction), …
   */
  async acknowledge(
    ids: readonly MessageId[],
    { transaction, cumulative = false }: { transaction?: TransactionId; cumulative?: boolean } = {},
  ): Promise<void> {
    const connection = this.#attached()
    const entries = ids.flatMap(id => this.#entries.entriesOf(id))
    const messageIds = cumulative ? entries.map(upTo) : merged(entries)
    const answer = await connection.request(
      'ack',
      {
        consumerId: this.#id,
        type: cumulative ? 1 : 0,
        messageIds,
        txnMost: transaction?.most,
        txnLeast: transaction?.least,
      },
      { doing: `acknowledging on ${this.#options.topic}` },
    )
    if (answer.error !== undefined)
      throw PulsarError.of(answer.error, answer.message, `acknowledging on ${this.#options.topic}`)
  }

  /** All that was delivered and not acknowledged comes again, or just these. */
  redeliver(ids?: readonly MessageId[]): void {
    if (!ids) this.#discard()
    this.#connection?.send('redeliver', { consumerId: this.#id, messageIds: ids })
    this.#allow()
  }

  /** The subscription goes on behind a message (undefined: from the first), or at the first published at or after a time. */
  async seek(to: { readonly after: MessageId | undefined } | { readonly time: number }): Promise<void> {
    const connection = this.#attached()
    this.#discard()
    this.#after = undefined
    const place = 'time' in to ? { publishTime: to.time } : { messageId: to.after ?? NOWHERE }
    if ('after' in to) this.#after = to.after
    // The broker closes the consumer, which is attached anew.
    await connection.request('seek', { consumerId: this.#id, ...place }, { doing: `seeking on ${this.#options.topic}` })
  }

  /** Of the topic; undefined if it is empty. */
  async lastId(): Promise<MessageId | undefined> {
    const { lastMessageId } = await this.#attached().request('getLastMessageId', { consumerId: this.#id })
    return lastMessageId.entryId < 0 ? undefined : lastMessageId
  }

  #attached(): Connection {
    if (this.#error) throw this.#error
    if (!this.#connection) throw new PulsarError('ConnectionLost', `${this.#options.topic}: not connected just now`)
    return this.#connection
  }

  #fail(error: PulsarError): void {
    if (this.#error) return
    this.#error = error
    this.#link.close()
    this.#ring()
    this.#failed.resolve(error)
  }

  /** The subscription itself goes, with its backlog. */
  async unsubscribe(): Promise<void> {
    await this.#attached().request('unsubscribe', { consumerId: this.#id })
    await this.close()
  }

  async close(): Promise<void> {
    if (this.#error) return
    const connection = this.#connection
    this.#fail(new PulsarError('Closed', `the consumer of ${this.#options.topic} was closed`))
    connection?.detachConsumer(this.#id)
    await connection?.request('closeConsumer', { consumerId: this.#id }).catch(() => {})
  }
}
