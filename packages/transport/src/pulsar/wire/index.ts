/**
 * Pulsar's binary protocol over TCP or TLS: brokers and their connections, producers, consumers, transactions. Of one
 * partition each: what spans partitions is made of them by whoever uses it. Imports nothing of the transport.
 */
export { Brokers, type BrokersOptions } from './brokers.ts'
export { SCHEMA_TYPE } from './commands.ts'
export { addCompression, canCompress } from './compression.ts'
export type { Authentication } from './connection.ts'
export { Consumer, type ConsumerOptions } from './consumer.ts'
export {
  compareIds,
  type IncomingMessage,
  type MessageId,
  type OutgoingMessage,
  type Schema,
  type TransactionId,
} from './message.ts'
export { Producer, type ProducerOptions } from './producer.ts'
export { type PulsarCode, PulsarError } from './pulsar-error.ts'
export { Transactions } from './transactions.ts'
