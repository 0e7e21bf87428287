import { type MessageId, SINGLE_METADATA } from './commands.ts'
import { keyOf, type OutgoingMessage, type TransactionId } from './message.ts'
import { encode, Writer } from './protobuf.ts'
import type { PulsarError } from './pulsar-error.ts'

export interface Outgoing {
  readonly message: OutgoingMessage
  resolve(id: MessageId): void
  reject(error: PulsarError): void
}

export interface BatchOptions {
  /** Every batch holds messages of one key. */
  readonly byKey: boolean
  readonly maxMessages: number
  readonly maxBytes: number
  readonly delayMs: number
  /** Takes one batch: all of one transaction, in the order they were added. */
  readonly flush: (messages: readonly Outgoing[]) => void
}

interface Open {
  readonly messages: Outgoing[]
  bytes: number
}

/** What a message takes besides its value, about. */
const OVERHEAD = 64

/** Gathers messages until there are enough of them, or they have waited long enough. */
export class Batch {
  readonly byKey: boolean
  readonly #options: BatchOptions
  /** By key, in the order of their first messages. One under undefined if keys do not matter. */
  readonly #open = new Map<string | undefined, Open>()
  #bytes = 0
  #transaction: TransactionId | undefined
  #numbered = false
  #schemaVersion: Uint8Array | undefined
  #scheduled: NodeJS.Timeout | NodeJS.Immediate | undefined

  constructor(options: BatchOptions) {
    this.#options = options
    this.byKey = options.byKey
  }

  get bytes(): number {
    return this.#bytes
  }

  add(outgoing: Outgoing): void {
    const { message } = outgoing
    const { maxMessages, maxBytes } = this.#options
    const numbered = message.sequenceId !== undefined
    // Sequence ids only rise, so what has its own leaves in the order it came: a batch then ends where the key changes.
    const name = this.byKey ? nameOf(message) : undefined
    if (
      !sameTransaction(message.transaction, this.#transaction) ||
      numbered !== this.#numbered ||
      !sameBytes(message.schemaVersion, this.#schemaVersion) ||
      (numbered && this.byKey && this.#open.size > 0 && !this.#open.has(name))
    )
      this.flush()
    this.#transaction = message.transaction
    this.#numbered = numbered
    this.#schemaVersion = message.schemaVersion
    const bytes = (message.value?.length ?? 0) + OVERHEAD
    if (message.deliverAt !== undefined || maxMessages === 1 || bytes >= maxBytes) {
      this.flush()
      this.#options.flush([outgoing])
      return
    }
    let open = this.#open.get(name)
    if (open && open.bytes + bytes > maxBytes) {
      this.flush()
      open = undefined
    }
    if (!open) {
      open = { messages: [], bytes: 0 }
      this.#open.set(name, open)
    }
    open.messages.push(outgoing)
    open.bytes += bytes
    this.#bytes += bytes
    if (open.messages.length >= maxMessages) this.flush()
    else this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    const { delayMs } = this.#options
    this.#scheduled = delayMs > 0 ? setTimeout(() => this.flush(), delayMs) : setImmediate(() => this.flush())
  }

  flush(): void {
    if (this.#scheduled) {
      clearTimeout(this.#scheduled as NodeJS.Timeout)
      clearImmediate(this.#scheduled as NodeJS.Immediate)
      this.#scheduled = undefined
    }
    if (this.#open.size === 0) return
    const open = [...this.#open.values()]
    this.#open.clear()
    this.#bytes = 0
    for (const { messages } of open) this.#options.flush(messages)
  }

  reject(error: PulsarError): void {
    const open = [...this.#open.values()]
    this.#open.clear()
    this.#bytes = 0
    for (const { messages } of open) for (const { reject } of messages) reject(error)
  }

  /** A batch's payload: each message behind its metadata, which is behind its size. */
  static encode(messages: readonly Outgoing[], sequenceIds: readonly bigint[]): Buffer {
    const writer = new Writer(messages.reduce((sum, { message }) => sum + (message.value?.length ?? 0) + OVERHEAD, 64))
    for (const [i, { message }] of messages.entries()) {
      const sizeAt = writer.length
      writer.uint32(0)
      const key = keyOf(message.key)
      encode(writer, SINGLE_METADATA, {
        properties: message.properties?.map(([key, value]) => ({ key, value })),
        partitionKey: key?.text,
        payloadSize: message.value?.length ?? 0,
        eventTime: message.eventTime,
        partitionKeyIsBase64: key?.isBase64,
        orderingKey: message.orderingKey,
        sequenceId: sequenceIds[i],
        nullValue: message.value === null ? true : undefined,
        nullPartitionKey: key ? undefined : true,
      })
      writer.buffer.writeUInt32BE(writer.length - sizeAt - 4, sizeAt)
      if (message.value) writer.raw(message.value)
    }
    return writer.done()
  }
}

const sameTransaction = (a: TransactionId | undefined, b: TransactionId | undefined) =>
  a === b || (a !== undefined && b !== undefined && a.most === b.most && a.least === b.least)

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined) =>
  a === b || (a !== undefined && b !== undefined && Buffer.compare(a, b) === 0)

function nameOf({ key, orderingKey }: OutgoingMessage): string | undefined {
  if (orderingKey) return `o${Buffer.from(orderingKey).toString('latin1')}`
  if (key === undefined) return undefined
  return typeof key === 'string' ? `t${key}` : `b${Buffer.from(key).toString('latin1')}`
}
