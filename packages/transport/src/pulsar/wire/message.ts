import type { MessageId, Schema } from './commands.ts'

export type { MessageId, Schema }

/** A transaction's id, in its two halves. */
export interface TransactionId {
  readonly most: number
  readonly least: number
}

export interface OutgoingMessage {
  /** null: a tombstone. */
  readonly value: Uint8Array | null
  /** Text, or bytes, which go as base64 and are told to be so. Decides the partition, what compaction keeps, and the order in Key_Shared. */
  readonly key?: string | Uint8Array | undefined
  /** Decides the order in Key_Shared in the key's place. */
  readonly orderingKey?: Uint8Array | undefined
  readonly properties?: readonly (readonly [name: string, value: string])[] | undefined
  /** Milliseconds since the epoch. */
  readonly eventTime?: number | undefined
  /** Only rises within a producer. What is at or below the last one of its name is left out by a broker that deduplicates. */
  readonly sequenceId?: bigint | undefined
  /** Milliseconds since the epoch; Shared and Key_Shared subscriptions hold the message back until then. */
  readonly deliverAt?: number | undefined
  /** As the topic's registry numbers it; without one the producer's own schema counts. */
  readonly schemaVersion?: Uint8Array | undefined
  readonly transaction?: TransactionId | undefined
}

export interface IncomingMessage {
  /** Of this message alone: in a batch with its place and the batch's size. */
  readonly id: MessageId
  readonly value: Buffer | null
  readonly key: string | Buffer | undefined
  readonly orderingKey: Buffer | undefined
  readonly properties: readonly (readonly [name: string, value: string])[]
  readonly eventTime: number | undefined
  readonly producerName: string
  readonly sequenceId: bigint
  /** By the producer's clock, and by the broker's where it is told to say so. Milliseconds since the epoch. */
  readonly publishTime: number
  readonly brokerTime: number | undefined
  readonly schemaVersion: Buffer | undefined
  readonly redeliveryCount: number
}

/** Below 0 if `a` lies before `b`. Of one partition. */
export function compareIds(a: MessageId, b: MessageId): number {
  return a.ledgerId - b.ledgerId || a.entryId - b.entryId || (a.batchIndex ?? -1) - (b.batchIndex ?? -1)
}

/** As the protocol has it: keys are text. */
export function keyOf(
  key: string | Uint8Array | undefined,
): { readonly text: string; readonly isBase64?: true } | undefined {
  if (key === undefined) return undefined
  return typeof key === 'string' ? { text: key } : { text: Buffer.from(key).toString('base64'), isBase64: true }
}
