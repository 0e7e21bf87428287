import { randomUUID } from 'node:crypto'
import { Batch, type Outgoing } from './batch.ts'
import { COMPRESSION, type Compression, type Metadata } from './commands.ts'
import { compress } from './compression.ts'
import { encodeSend } from './frame.ts'
import { keyOf, type OutgoingMessage, type TransactionId } from './message.ts'
import { PulsarError } from './pulsar-error.ts'

/** An entry of the topic as it goes over the wire. */
export interface OutgoingEntry {
  readonly sequenceId: bigint
  readonly frame: readonly Uint8Array[]
}

/** What all messages of an entry have in common. */
export interface Envelope {
  readonly producerId: number
  readonly producerName: string
  readonly schemaVersion: Uint8Array | undefined
  readonly transaction: TransactionId | undefined
  readonly compression: Compression
}

/** A producer's sequence ids: each message's own, or the next one. */
export class Sequences {
  last = -1n

  next(given: bigint | undefined): bigint {
    const sequenceId = given ?? this.last + 1n
    if (sequenceId > this.last) this.last = sequenceId
    return sequenceId
  }
}

const transactionOf = ({ transaction }: Envelope) =>
  transaction ? { txnLeast: transaction.least, txnMost: transaction.most } : {}

const metadataOf = (envelope: Envelope, sequenceId: bigint, uncompressedSize: number): Metadata => ({
  producerName: envelope.producerName,
  sequenceId,
  publishTime: Date.now(),
  ...transactionOf(envelope),
  compression: envelope.compression === 'none' ? undefined : COMPRESSION[envelope.compression],
  uncompressedSize,
  schemaVersion: envelope.schemaVersion,
})

const packed = ({ compression }: Envelope, bytes: Uint8Array) =>
  compression === 'none' ? bytes : compress(compression, bytes)

/** A message by itself: one entry, or several chunks. Throws PulsarError TooLarge. */
export function single(
  message: OutgoingMessage,
  envelope: Envelope,
  sequences: Sequences,
  { largest, chunking, topic }: { readonly largest: number; readonly chunking: boolean; readonly topic: string },
): readonly OutgoingEntry[] {
  const value = message.value ?? new Uint8Array()
  const payload = packed(envelope, value)
  const sequenceId = sequences.next(message.sequenceId)
  const key = keyOf(message.key)
  const metadata: Metadata = {
    ...metadataOf(envelope, sequenceId, value.length),
    properties: message.properties?.map(([key, value]) => ({ key, value })),
    partitionKey: key?.text,
    partitionKeyIsBase64: key?.isBase64,
    eventTime: message.eventTime,
    orderingKey: message.orderingKey,
    deliverAtTime: message.deliverAt,
    nullValue: message.value === null ? true : undefined,
    nullPartitionKey: message.key === undefined ? true : undefined,
  }
  const send = { producerId: envelope.producerId, sequenceId, messages: 1, ...transactionOf(envelope) }
  const head = encodeSend(send, metadata, payload)
  if (head.length + payload.length <= largest) return [{ sequenceId, frame: [head, payload] }]
  const room = largest - head.length
  if (!chunking || room <= 0)
    throw new PulsarError(
      'TooLarge',
      `a message of ${head.length + payload.length} bytes to ${topic}: ${largest} are the most`,
    )
  const uuid = `${envelope.producerName}-${randomUUID()}`
  const chunks = Math.ceil(payload.length / room)
  return Array.from({ length: chunks }, (_, chunkId) => {
    const piece = payload.subarray(chunkId * room, (chunkId + 1) * room)
    const part = { ...metadata, uuid, chunks, chunkId, chunkedBytes: payload.length }
    return { sequenceId, frame: [encodeSend({ ...send, isChunk: true }, part, piece), piece] }
  })
}

/** Several messages in one entry, which are of one key if it is to carry that. */
export function batched(
  messages: readonly Outgoing[],
  byKey: boolean,
  envelope: Envelope,
  sequences: Sequences,
): OutgoingEntry {
  const { message } = messages[0] as Outgoing
  const numbers = messages.map(each => sequences.next(each.message.sequenceId))
  const [sequenceId, highestSequenceId] = [numbers[0] as bigint, numbers.at(-1) as bigint]
  const body = Batch.encode(messages, numbers)
  const payload = packed(envelope, body)
  const key = byKey ? keyOf(message.key) : undefined
  const metadata: Metadata = {
    ...metadataOf(envelope, sequenceId, body.length),
    partitionKey: key?.text,
    partitionKeyIsBase64: key?.isBase64,
    orderingKey: byKey ? message.orderingKey : undefined,
    messagesInBatch: messages.length,
    highestSequenceId,
  }
  const send = {
    producerId: envelope.producerId,
    sequenceId,
    messages: messages.length,
    highestSequenceId,
    ...transactionOf(envelope),
  }
  return { sequenceId, frame: [encodeSend(send, metadata, payload), payload] }
}
