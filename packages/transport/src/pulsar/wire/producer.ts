import { Batch, type Outgoing } from './batch.ts'
import type { Brokers } from './brokers.ts'
import type { Command, Compression, MessageId, Schema } from './commands.ts'
import { type Connection, MAX_MESSAGE_BYTES } from './connection.ts'
import { SEND_OVERHEAD } from './frame.ts'
import { Link } from './link.ts'
import type { OutgoingMessage } from './message.ts'
import { batched, type OutgoingEntry, Sequences, single } from './outgoing.ts'
import { PulsarError } from './pulsar-error.ts'

/** By its number in ProducerAccessMode. */
export const ACCESS = { shared: 0, exclusive: 1, 'wait-for-exclusive': 2, 'exclusive-with-fencing': 3 } as const

export interface ProducerOptions {
  /** A topic without partitions, or one partition: …-partition-N. */
  readonly topic: string
  /** A name that stays is what deduplication goes by; without one the broker makes one. */
  readonly name?: string | undefined
  readonly access?: keyof typeof ACCESS
  readonly schema?: Schema | undefined
  readonly transactions?: boolean
  readonly compression?: Compression
  /** key: a batch holds one key, so that Key_Shared keeps their order; any: whatever comes; none: no batches. */
  readonly batching?: 'key' | 'any' | 'none'
  readonly batchMessages?: number
  readonly batchBytes?: number
  /** Milliseconds that a message may wait for others; 0: until the end of this turn of the event loop. */
  readonly batchDelayMs?: number
  /** What is larger than the broker takes goes in pieces; otherwise it is refused: TooLarge. */
  readonly chunking?: boolean
  /** Sent and not yet acknowledged, at most: `send` throws QueueFull above, `writable` waits. */
  readonly maxPendingBytes?: number
  /** Milliseconds until what is not acknowledged is given up. Nobody knows then whether it is there. 0: never. */
  readonly sendTimeoutMs?: number
  readonly openTimeoutMs?: number
}

/** One entry on its way: sent again, the same, after each loss of the connection until the broker has it. */
interface Pending extends OutgoingEntry {
  readonly bytes: number
  readonly at: number
  /** Of its messages, in order; none for a chunk but the last. */
  readonly settle: readonly Outgoing[]
}

let producers = 0

/** Sends to one topic or partition, in order, over reconnections. */
export class Producer {
  name: string
  /** The last sequence id that the broker has of this name; -1n: none, or it does not deduplicate. */
  lastSequenceId = -1n
  readonly #options: ProducerOptions & { maxPendingBytes: number; sendTimeoutMs: number }
  readonly #link: Link
  readonly #id = ++producers
  readonly #batch: Batch
  #pending: Pending[] = []
  #pendingBytes = 0
  readonly #sequences = new Sequences()
  #epoch = 0
  #topicEpoch: number | undefined
  #schemaVersion: Uint8Array | undefined
  #error: PulsarError | undefined
  #room = Promise.withResolvers<void>()
  readonly #failed = Promise.withResolvers<PulsarError>()
  #timeout: NodeJS.Timeout | undefined
  #opened = false
  /** Set while attached: what is sent goes out at once. */
  #connection: Connection | undefined

  /** Throws PulsarError, among them ProducerBusy (the name is connected), ProducerFenced (another has exclusive access), IncompatibleSchema. */
  static async open(brokers: Brokers, options: ProducerOptions): Promise<Producer> {
    const producer = new Producer(brokers, options)
    try {
      await producer.#link.open(
        options.access === 'wait-for-exclusive' ? Number.POSITIVE_INFINITY : (options.openTimeoutMs ?? 30_000),
      )
    } catch (error) {
      producer.#link.close()
      throw error
    }
    producer.#opened = true
    producer.#sequences.last = producer.lastSequenceId
    return producer
  }

  private constructor(
    brokers: Brokers,
    { maxPendingBytes = 32 * 2 ** 20, sendTimeoutMs = 30_000, ...options }: ProducerOptions,
  ) {
    this.#options = { ...options, maxPendingBytes, sendTimeoutMs }
    this.name = options.name ?? ''
    this.#batch = new Batch({
      byKey: (options.batching ?? 'key') === 'key',
      maxMessages: options.batching === 'none' ? 1 : (options.batchMessages ?? 1000),
      maxBytes: options.batchBytes ?? 128 * 1024,
      delayMs: options.batchDelayMs ?? 0,
      flush: messages => this.#dispatch(messages),
    })
    this.#link = new Link(brokers, {
      topic: options.topic,
      attach: connection => this.#attach(connection),
      failed: error => this.#fail(error),
    })
    if (sendTimeoutMs > 0) this.#timeout = setInterval(() => this.#giveUp(), Math.min(1000, sendTimeoutMs / 4)).unref()
  }

  /** Settles when it can never send again: fenced, refused, or closed. */
  get failed(): Promise<PulsarError> {
    return this.#failed.promise
  }

  async #attach(connection: Connection): Promise<void> {
    const { topic, access = 'shared', schema, transactions = false } = this.#options
    const doing = `attaching a producer to ${topic}`
    connection.attachProducer(this.#id, {
      command: command => this.#heard(command),
      lost: () => this.#lost(),
    })
    try {
      const made = await connection.request(
        'producer',
        {
          topic,
          producerId: this.#id,
          producerName: this.name || undefined,
          userProvidedName: Boolean(this.#options.name),
          schema,
          epoch: this.#epoch++,
          accessMode: ACCESS[access],
          topicEpoch: this.#topicEpoch,
          txnEnabled: transactions,
        },
        { doing },
      )
      this.name = made.producerName
      this.#topicEpoch = made.topicEpoch
      this.#schemaVersion = made.schemaVersion?.length ? Buffer.from(made.schemaVersion) : undefined
      if (!this.#opened) this.lastSequenceId = made.lastSequenceId ?? -1n
    } catch (error) {
      connection.detachProducer(this.#id)
      // After a time-out the broker may still make it; what it doesn't know it ignores.
      if ((error as PulsarError).code === 'TimedOut')
        connection.request('closeProducer', { producerId: this.#id }).catch(() => {})
      throw error
    }
    this.#connection = connection
    for (const { frame } of this.#pending) connection.write(...frame)
  }

  #lost(): void {
    this.#connection = undefined
    this.#link.lost()
  }

  /** Bytes sent or waiting, not yet acknowledged. */
  get pendingBytes(): number {
    return this.#pendingBytes + this.#batch.bytes
  }

  /** Resolves when there is room for more: the back pressure. */
  async writable(): Promise<void> {
    while (!this.#error && this.pendingBytes >= this.#options.maxPendingBytes) await this.#room.promise
  }

  /** Resolves when the broker has it. Throws PulsarError: QueueFull, TooLarge, TimedOut, ProducerFenced, TopicTerminatedError, Closed, … */
  send(message: OutgoingMessage): Promise<MessageId> {
    if (this.#error) return Promise.reject(this.#error)
    if (this.pendingBytes >= this.#options.maxPendingBytes)
      return Promise.reject(
        new PulsarError(
          'QueueFull',
          `${this.pendingBytes} bytes to ${this.#options.topic} wait: send less, or wait until it is writable`,
        ),
      )
    const { promise, resolve, reject } = Promise.withResolvers<MessageId>()
    this.#batch.add({ message, resolve, reject })
    return promise
  }

  /** Sends what waits for more. */
  flush(): void {
    this.#batch.flush()
  }

  #dispatch(messages: readonly Outgoing[]): void {
    const first = messages[0] as Outgoing
    try {
      const envelope = {
        producerId: this.#id,
        producerName: this.name,
        schemaVersion: first.message.schemaVersion ?? this.#schemaVersion,
        transaction: first.message.transaction,
        compression: this.#options.compression ?? 'none',
      } as const
      const limits = {
        largest: (this.#connection?.maxMessageBytes ?? MAX_MESSAGE_BYTES) - SEND_OVERHEAD,
        chunking: this.#options.chunking ?? false,
        topic: this.#options.topic,
      }
      if (messages.length > 1) this.#push(batched(messages, this.#batch.byKey, envelope, this.#sequences), messages)
      else {
        const entries = single(first.message, envelope, this.#sequences, limits)
        for (const [i, entry] of entries.entries()) this.#push(entry, i === entries.length - 1 ? messages : [])
      }
    } catch (cause) {
      const error = cause instanceof PulsarError ? cause : new PulsarError('UnknownError', String(cause), { cause })
      for (const { reject } of messages) reject(error)
    }
  }

  #push({ sequenceId, frame }: OutgoingEntry, settle: readonly Outgoing[]): void {
    const bytes = frame.reduce((sum, piece) => sum + piece.length, 0)
    this.#pending.push({ sequenceId, frame, bytes, at: performance.now(), settle })
    this.#pendingBytes += bytes
    this.#connection?.write(...frame)
  }

  #heard(command: Command): void {
    if (command.name === 'sendReceipt') {
      const { sequenceId, messageId } = command.body
      const [head] = this.#pending
      // Older: answered before, and answered again after it was sent again.
      if (!head || sequenceId < head.sequenceId) return
      if (sequenceId > head.sequenceId) {
        this.#connection?.abandon(`acknowledged ${sequenceId} on ${this.#options.topic} before ${head.sequenceId}`)
        return
      }
      this.#shift()
      head.settle.forEach(({ resolve }, batchIndex) => {
        const id = messageId ?? { ledgerId: -1, entryId: -1 }
        resolve(head.settle.length > 1 ? { ...id, batchIndex, batchSize: head.settle.length } : id)
      })
    } else if (command.name === 'sendError') {
      const error = PulsarError.of(command.body.error, command.body.message, `sending to ${this.#options.topic}`)
      if (error.code === 'ProducerFenced' || error.code === 'TopicTerminatedError') this.#fail(error)
      const [head] = this.#pending
      // What passes is sent again, the same, over another connection.
      if (error.retryable) this.#connection?.abandon(error.message)
      if (error.retryable || this.#error || head?.sequenceId !== command.body.sequenceId) return
      this.#shift()
      for (const { reject } of head.settle) reject(error)
    }
  }

  #shift(): void {
    const head = this.#pending.shift()
    this.#pendingBytes -= head?.bytes ?? 0
    if (this.pendingBytes < this.#options.maxPendingBytes) {
      this.#room.resolve()
      this.#room = Promise.withResolvers()
    }
  }

  #giveUp(): void {
    const [head] = this.#pending
    const { sendTimeoutMs, topic } = this.#options
    if (!head || performance.now() - head.at < sendTimeoutMs) return
    this.#reject(
      new PulsarError('TimedOut', `${topic} did not acknowledge within ${sendTimeoutMs} ms: it may be there`),
    )
  }

  #reject(error: PulsarError): void {
    const pending = this.#pending
    this.#pending = []
    this.#pendingBytes = 0
    for (const { settle } of pending) for (const { reject } of settle) reject(error)
    this.#batch.reject(error)
    this.#room.resolve()
    this.#room = Promise.withResolvers()
  }

  #fail(error: PulsarError): void {
    if (this.#error) return
    this.#error = error
    clearInterval(this.#timeout)
    this.#link.close()
    this.#reject(error)
    this.#failed.resolve(error)
  }

  /** Waits until all that was sent is settled, then lets go of the name. */
  async close(): Promise<void> {
    if (this.#error) return
    this.#batch.flush()
    while (this.#pending.length > 0 && !this.#error) {
      const last = this.#pending.at(-1)?.settle.at(-1)
      if (!last) break
      await new Promise<void>(resolve => {
        const { resolve: done, reject } = last
        last.resolve = id => {
          done(id)
          resolve()
        }
        last.reject = error => {
          reject(error)
          resolve()
        }
      })
    }
    const connection = this.#connection
    connection?.detachProducer(this.#id)
    this.#fail(new PulsarError('Closed', `the producer of ${this.#options.topic} was closed`))
    await connection?.request('closeProducer', { producerId: this.#id }).catch(() => {})
  }
}
