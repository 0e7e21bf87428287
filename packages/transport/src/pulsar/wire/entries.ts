import { type CommandOf, type MessageId, type Metadata, SINGLE_METADATA, type SingleMetadata } from './commands.ts'
import { decompress } from './compression.ts'
import type { Entry } from './frame.ts'
import type { IncomingMessage } from './message.ts'
import { decode, Malformed, Reader } from './protobuf.ts'

/** A message of several entries may lie around unfinished: so many of them, and then the oldest is forgotten. */
const UNFINISHED = 100

interface Chunked {
  readonly pieces: Buffer[]
  readonly of: number
  readonly bytes: number
  readonly ids: MessageId[]
}

/** Makes messages of entries: decompresses, takes batches apart, puts chunks together. */
export class Entries {
  readonly #chunked = new Map<string, Chunked>()
  /** What a message of several entries consists of: all of them are acknowledged with it. */
  readonly #chunksOf = new WeakMap<MessageId, readonly MessageId[]>()

  /** Throws Malformed at what can't be read. Empty for a chunk that is not the last. */
  messagesOf(
    command: CommandOf<'message'>,
    { metadata, payload, brokerTime }: Entry,
    partition?: number,
  ): readonly IncomingMessage[] {
    const id: MessageId = partition === undefined ? command.messageId : { ...command.messageId, partition }
    const redeliveryCount = command.redeliveryCount ?? 0
    // Markers are the broker's own (of transactions, for instance).
    if (metadata.markerType !== undefined) return []
    if ((metadata.chunks ?? 0) > 1) {
      const whole = this.#chunk(metadata, payload, id)
      if (!whole) return []
      const body = decompress(metadata.compression, whole.bytes, metadata.uncompressedSize ?? whole.bytes.length)
      this.#chunksOf.set(id, whole.ids)
      return [messageOf(id, metadata, metadata, body, redeliveryCount, brokerTime)]
    }
    const body = decompress(metadata.compression, payload, metadata.uncompressedSize ?? payload.length)
    if (metadata.messagesInBatch === undefined)
      return [messageOf(id, metadata, metadata, body, redeliveryCount, brokerTime)]
    const messages: IncomingMessage[] = []
    const reader = new Reader(body)
    const batchSize = metadata.messagesInBatch
    for (let batchIndex = 0; batchIndex < batchSize; batchIndex++) {
      if (reader.end - reader.at < 4) throw new Malformed(`a batch of ${batchSize} that ends after ${batchIndex}`)
      const start = reader.at + 4
      const end = start + body.readUInt32BE(reader.at)
      const single = decode(new Reader(body, start, end), SINGLE_METADATA)
      reader.at = end + single.payloadSize
      if (reader.at > reader.end) throw new Malformed('a batch with a message that goes beyond it')
      if (single.compactedOut || (command.ackSet && !isSet(command.ackSet, batchIndex))) continue
      const value = body.subarray(end, reader.at)
      messages.push(messageOf({ ...id, batchIndex, batchSize }, metadata, single, value, redeliveryCount, brokerTime))
    }
    return messages
  }

  /** The entries of a message: more than one if it came in chunks. */
  entriesOf(id: MessageId): readonly MessageId[] {
    return this.#chunksOf.get(id) ?? [id]
  }

  #chunk(metadata: Metadata, payload: Buffer, id: MessageId): { bytes: Buffer; ids: readonly MessageId[] } | undefined {
    const { uuid = '', chunkId = 0, chunks = 0, chunkedBytes = 0 } = metadata
    let chunked = this.#chunked.get(uuid)
    if (chunkId === 0) {
      chunked = { pieces: [], of: chunks, bytes: chunkedBytes, ids: [] }
      this.#chunked.delete(uuid)
      this.#chunked.set(uuid, chunked)
      if (this.#chunked.size > UNFINISHED) this.#chunked.delete(this.#chunked.keys().next().value as string)
    }
    // Sent twice after a reconnection, or its beginning lies before where reading began.
    if (!chunked || chunkId !== chunked.pieces.length) return undefined
    chunked.pieces.push(Buffer.from(payload))
    chunked.ids.push(id)
    if (chunked.pieces.length < chunked.of) return undefined
    this.#chunked.delete(uuid)
    return { bytes: Buffer.concat(chunked.pieces, chunked.bytes), ids: chunked.ids }
  }

  clear(): void {
    this.#chunked.clear()
  }
}

const isSet = (words: readonly bigint[], index: number) =>
  ((words[Math.floor(index / 64)] ?? 0n) & (1n << BigInt(index % 64))) !== 0n

function messageOf(
  id: MessageId,
  metadata: Metadata,
  own: Metadata | SingleMetadata,
  value: Buffer,
  redeliveryCount: number,
  brokerTime: number | undefined,
): IncomingMessage {
  const { partitionKey, partitionKeyIsBase64, nullPartitionKey } = own
  return {
    id,
    value: own.nullValue ? null : value,
    key:
      partitionKey === undefined || nullPartitionKey
        ? undefined
        : partitionKeyIsBase64
          ? Buffer.from(partitionKey, 'base64')
          : partitionKey,
    orderingKey: own.orderingKey as Buffer | undefined,
    properties: own.properties?.map(({ key, value }) => [key, value] as const) ?? [],
    eventTime: own.eventTime || undefined,
    producerName: metadata.producerName,
    sequenceId: own.sequenceId ?? metadata.sequenceId,
    publishTime: metadata.publishTime,
    brokerTime,
    schemaVersion: metadata.schemaVersion as Buffer | undefined,
    redeliveryCount,
  }
}
