/**
 * Pulsar's binary protocol as tables: the commands that a client sends and gets, by the numbers of PulsarApi.proto of
 * Pulsar 4.0 (protocol version 21). Only what this client uses; what else a broker sends is left out when it is read.
 */
import type { Of, Shape } from './protobuf.ts'

/** -1 for ledger and entry stand for "before the first". */
export const MESSAGE_ID = {
  ledgerId: [1, 'int', 'required'],
  entryId: [2, 'int', 'required'],
  partition: [3, 'int'],
  batchIndex: [4, 'int'],
  /** A bit for each message of the batch, 64 to a word, set while it is not acknowledged. */
  ackSet: [5, 'long', 'repeated'],
  batchSize: [6, 'int'],
} as const satisfies Shape

export const KEY_VALUE = { key: [1, 'string', 'required'], value: [2, 'string', 'required'] } as const satisfies Shape

export const SCHEMA = {
  name: [1, 'string', 'required'],
  data: [3, 'bytes', 'required'],
  type: [4, 'int', 'required'],
  properties: [5, KEY_VALUE, 'repeated'],
} as const satisfies Shape
/** Of Schema.Type. */
export const SCHEMA_TYPE = { none: 0, string: 1, json: 2, protobuf: 3, avro: 4 } as const

export const COMPRESSION = { none: 0, lz4: 1, zlib: 2, zstd: 3, snappy: 4 } as const
export type Compression = keyof typeof COMPRESSION

export const METADATA = {
  producerName: [1, 'string', 'required'],
  sequenceId: [2, 'long', 'required'],
  publishTime: [3, 'int', 'required'],
  properties: [4, KEY_VALUE, 'repeated'],
  replicatedFrom: [5, 'string'],
  partitionKey: [6, 'string'],
  compression: [8, 'int'],
  uncompressedSize: [9, 'int'],
  /** Absent: this is not a batch. */
  messagesInBatch: [11, 'int'],
  eventTime: [12, 'int'],
  schemaVersion: [16, 'bytes'],
  partitionKeyIsBase64: [17, 'bool'],
  orderingKey: [18, 'bytes'],
  deliverAtTime: [19, 'int'],
  markerType: [20, 'int'],
  txnLeast: [22, 'int'],
  txnMost: [23, 'int'],
  highestSequenceId: [24, 'long'],
  nullValue: [25, 'bool'],
  uuid: [26, 'string'],
  chunks: [27, 'int'],
  chunkedBytes: [28, 'int'],
  chunkId: [29, 'int'],
  nullPartitionKey: [30, 'bool'],
} as const satisfies Shape
export type Metadata = Of<typeof METADATA>

export const SINGLE_METADATA = {
  properties: [1, KEY_VALUE, 'repeated'],
  partitionKey: [2, 'string'],
  payloadSize: [3, 'int', 'required'],
  compactedOut: [4, 'bool'],
  eventTime: [5, 'int'],
  partitionKeyIsBase64: [6, 'bool'],
  orderingKey: [7, 'bytes'],
  sequenceId: [8, 'long'],
  nullValue: [9, 'bool'],
  nullPartitionKey: [10, 'bool'],
} as const satisfies Shape
export type SingleMetadata = Of<typeof SINGLE_METADATA>

export const ENTRY_METADATA = { brokerTimestamp: [1, 'int'], index: [2, 'int'] } as const satisfies Shape

const FLAGS = {
  authRefresh: [1, 'bool'],
  brokerEntryMetadata: [2, 'bool'],
  partialProducer: [3, 'bool'],
  topicWatchers: [4, 'bool'],
} as const satisfies Shape
const AUTH_DATA = { method: [1, 'string'], data: [2, 'bytes'] } as const satisfies Shape
const RANGE = { start: [1, 'int', 'required'], end: [2, 'int', 'required'] } as const satisfies Shape
const KEY_SHARED = {
  /** 0: the broker splits the hashes among the consumers; 1: each says which ranges it takes. */
  mode: [1, 'int', 'required'],
  ranges: [3, RANGE, 'repeated'],
  allowOutOfOrder: [4, 'bool'],
} as const satisfies Shape
const SUBSCRIPTION = {
  topic: [1, 'string', 'required'],
  subscription: [2, 'string', 'required'],
} as const satisfies Shape

const request = { requestId: [1, 'int', 'required'] } as const satisfies Shape
const transaction = { txnLeast: [2, 'int'], txnMost: [3, 'int'] } as const satisfies Shape
const outcome = { ...request, ...transaction, error: [4, 'int'], message: [5, 'string'] } as const satisfies Shape

/** Each command's number, which is also that of its field in the command that is sent, and its fields. */
export const COMMANDS = {
  connect: [
    2,
    {
      clientVersion: [1, 'string', 'required'],
      authMethod: [5, 'string'],
      authData: [3, 'bytes'],
      protocolVersion: [4, 'int'],
      proxyToBrokerUrl: [6, 'string'],
      flags: [10, FLAGS],
    },
  ],
  connected: [
    3,
    {
      serverVersion: [1, 'string', 'required'],
      protocolVersion: [2, 'int'],
      maxMessageSize: [3, 'int'],
      flags: [4, FLAGS],
    },
  ],
  subscribe: [
    4,
    {
      topic: [1, 'string', 'required'],
      subscription: [2, 'string', 'required'],
      type: [3, 'int', 'required'],
      consumerId: [4, 'int', 'required'],
      requestId: [5, 'int', 'required'],
      consumerName: [6, 'string'],
      priorityLevel: [7, 'int'],
      durable: [8, 'bool'],
      startMessageId: [9, MESSAGE_ID],
      metadata: [10, KEY_VALUE, 'repeated'],
      readCompacted: [11, 'bool'],
      schema: [12, SCHEMA],
      /** 0: latest, 1: earliest. */
      initialPosition: [13, 'int'],
      forceTopicCreation: [15, 'bool'],
      startRollbackSeconds: [16, 'int'],
      keyShared: [17, KEY_SHARED],
      subscriptionProperties: [18, KEY_VALUE, 'repeated'],
      consumerEpoch: [19, 'int'],
    },
  ],
  producer: [
    5,
    {
      topic: [1, 'string', 'required'],
      producerId: [2, 'int', 'required'],
      requestId: [3, 'int', 'required'],
      producerName: [4, 'string'],
      metadata: [6, KEY_VALUE, 'repeated'],
      schema: [7, SCHEMA],
      epoch: [8, 'int'],
      userProvidedName: [9, 'bool'],
      accessMode: [10, 'int'],
      topicEpoch: [11, 'int'],
      txnEnabled: [12, 'bool'],
      initialSubscription: [13, 'string'],
    },
  ],
  send: [
    6,
    {
      producerId: [1, 'int', 'required'],
      sequenceId: [2, 'long', 'required'],
      messages: [3, 'int'],
      txnLeast: [4, 'int'],
      txnMost: [5, 'int'],
      highestSequenceId: [6, 'long'],
      isChunk: [7, 'bool'],
    },
  ],
  sendReceipt: [
    7,
    {
      producerId: [1, 'int', 'required'],
      sequenceId: [2, 'long', 'required'],
      messageId: [3, MESSAGE_ID],
      highestSequenceId: [4, 'long'],
    },
  ],
  sendError: [
    8,
    {
      producerId: [1, 'int', 'required'],
      sequenceId: [2, 'long', 'required'],
      error: [3, 'int', 'required'],
      message: [4, 'string', 'required'],
    },
  ],
  message: [
    9,
    {
      consumerId: [1, 'int', 'required'],
      messageId: [2, MESSAGE_ID, 'required'],
      redeliveryCount: [3, 'int'],
      ackSet: [4, 'long', 'repeated'],
      consumerEpoch: [5, 'int'],
    },
  ],
  ack: [
    10,
    {
      consumerId: [1, 'int', 'required'],
      /** 0: individual, 1: cumulative. */
      type: [2, 'int', 'required'],
      messageIds: [3, MESSAGE_ID, 'repeated'],
      validationError: [4, 'int'],
      txnLeast: [6, 'int'],
      txnMost: [7, 'int'],
      requestId: [8, 'int'],
    },
  ],
  flow: [11, { consumerId: [1, 'int', 'required'], permits: [2, 'int', 'required'] }],
  unsubscribe: [12, { consumerId: [1, 'int', 'required'], requestId: [2, 'int', 'required'] }],
  success: [13, request],
  error: [14, { ...request, error: [2, 'int', 'required'], message: [3, 'string', 'required'] }],
  closeProducer: [
    15,
    {
      producerId: [1, 'int', 'required'],
      requestId: [2, 'int', 'required'],
      brokerUrl: [3, 'string'],
      brokerUrlTls: [4, 'string'],
    },
  ],
  closeConsumer: [
    16,
    {
      consumerId: [1, 'int', 'required'],
      requestId: [2, 'int', 'required'],
      brokerUrl: [3, 'string'],
      brokerUrlTls: [4, 'string'],
    },
  ],
  producerSuccess: [
    17,
    {
      ...request,
      producerName: [2, 'string', 'required'],
      lastSequenceId: [3, 'long'],
      schemaVersion: [4, 'bytes'],
      topicEpoch: [5, 'int'],
      ready: [6, 'bool'],
    },
  ],
  ping: [18, {}],
  pong: [19, {}],
  redeliver: [
    20,
    { consumerId: [1, 'int', 'required'], messageIds: [2, MESSAGE_ID, 'repeated'], consumerEpoch: [3, 'int'] },
  ],
  partitionedMetadata: [21, { topic: [1, 'string', 'required'], requestId: [2, 'int', 'required'] }],
  partitionedMetadataResponse: [
    22,
    {
      partitions: [1, 'int'],
      requestId: [2, 'int', 'required'],
      /** 0: success, 1: failed. */
      response: [3, 'int'],
      error: [4, 'int'],
      message: [5, 'string'],
    },
  ],
  lookup: [
    23,
    {
      topic: [1, 'string', 'required'],
      requestId: [2, 'int', 'required'],
      authoritative: [3, 'bool'],
      listener: [7, 'string'],
    },
  ],
  lookupResponse: [
    24,
    {
      brokerUrl: [1, 'string'],
      brokerUrlTls: [2, 'string'],
      /** 0: redirect, 1: connect, 2: failed. */
      response: [3, 'int'],
      requestId: [4, 'int', 'required'],
      authoritative: [5, 'bool'],
      error: [6, 'int'],
      message: [7, 'string'],
      proxyThroughServiceUrl: [8, 'bool'],
    },
  ],
  reachedEndOfTopic: [27, { consumerId: [1, 'int', 'required'] }],
  seek: [
    28,
    {
      consumerId: [1, 'int', 'required'],
      requestId: [2, 'int', 'required'],
      messageId: [3, MESSAGE_ID],
      publishTime: [4, 'int'],
    },
  ],
  getLastMessageId: [29, { consumerId: [1, 'int', 'required'], requestId: [2, 'int', 'required'] }],
  getLastMessageIdResponse: [
    30,
    {
      lastMessageId: [1, MESSAGE_ID, 'required'],
      requestId: [2, 'int', 'required'],
      markDeletePosition: [3, MESSAGE_ID],
    },
  ],
  activeConsumerChange: [31, { consumerId: [1, 'int', 'required'], isActive: [2, 'bool'] }],
  topicsOfNamespace: [
    32,
    {
      ...request,
      namespace: [2, 'string', 'required'],
      /** 0: persistent, 1: not persistent, 2: all. */
      mode: [3, 'int'],
      pattern: [4, 'string'],
      hash: [5, 'string'],
    },
  ],
  topicsOfNamespaceResponse: [
    33,
    { ...request, topics: [2, 'string', 'repeated'], filtered: [3, 'bool'], hash: [4, 'string'], changed: [5, 'bool'] },
  ],
  getSchema: [34, { ...request, topic: [2, 'string', 'required'], version: [3, 'bytes'] }],
  getSchemaResponse: [
    35,
    { ...request, error: [2, 'int'], message: [3, 'string'], schema: [4, SCHEMA], version: [5, 'bytes'] },
  ],
  authChallenge: [36, { serverVersion: [1, 'string'], challenge: [2, AUTH_DATA], protocolVersion: [3, 'int'] }],
  authResponse: [37, { clientVersion: [1, 'string'], response: [2, AUTH_DATA], protocolVersion: [3, 'int'] }],
  ackResponse: [
    38,
    {
      consumerId: [1, 'int', 'required'],
      ...transaction,
      error: [4, 'int'],
      message: [5, 'string'],
      requestId: [6, 'int'],
    },
  ],
  getOrCreateSchema: [39, { ...request, topic: [2, 'string', 'required'], schema: [3, SCHEMA, 'required'] }],
  getOrCreateSchemaResponse: [40, { ...request, error: [2, 'int'], message: [3, 'string'], version: [4, 'bytes'] }],
  /** The protocol calls it seconds; the broker and the Java client take it for milliseconds. */
  newTxn: [50, { ...request, ttlMs: [2, 'int'], coordinator: [3, 'int'] }],
  newTxnResponse: [51, outcome],
  addPartitionToTxn: [52, { ...request, ...transaction, partitions: [4, 'string', 'repeated'] }],
  addPartitionToTxnResponse: [53, outcome],
  addSubscriptionToTxn: [54, { ...request, ...transaction, subscriptions: [4, SUBSCRIPTION, 'repeated'] }],
  addSubscriptionToTxnResponse: [55, outcome],
  /** 0: commit, 1: abort. */
  endTxn: [56, { ...request, ...transaction, action: [4, 'int'] }],
  endTxnResponse: [57, outcome],
  tcClientConnect: [62, { ...request, coordinator: [2, 'int', 'required'] }],
  tcClientConnectResponse: [63, { ...request, error: [2, 'int'], message: [3, 'string'] }],
  topicMigrated: [
    68,
    {
      resourceId: [1, 'int', 'required'],
      /** 0: a producer, 1: a consumer. */
      resource: [2, 'int', 'required'],
      brokerUrl: [3, 'string'],
      brokerUrlTls: [4, 'string'],
    },
  ],
} as const satisfies Record<string, readonly [number: number, shape: Shape]>

export type CommandName = keyof typeof COMMANDS
export type CommandOf<N extends CommandName> = Of<(typeof COMMANDS)[N][1]>
/** A command with its name. */
export type Command = { [N in CommandName]: { readonly name: N; readonly body: CommandOf<N> } }[CommandName]

export type MessageId = Of<typeof MESSAGE_ID>
export type Schema = Of<typeof SCHEMA>

/** Of ServerError, by number. */
export const SERVER_ERRORS = [
  'UnknownError',
  'MetadataError',
  'PersistenceError',
  'AuthenticationError',
  'AuthorizationError',
  'ConsumerBusy',
  'ServiceNotReady',
  'ProducerBlockedQuotaExceededError',
  'ProducerBlockedQuotaExceededException',
  'ChecksumError',
  'UnsupportedVersionError',
  'TopicNotFound',
  'SubscriptionNotFound',
  'ConsumerNotFound',
  'TooManyRequests',
  'TopicTerminatedError',
  'ProducerBusy',
  'InvalidTopicName',
  'IncompatibleSchema',
  'ConsumerAssignError',
  'TransactionCoordinatorNotFound',
  'InvalidTxnStatus',
  'NotAllowedError',
  'TransactionConflict',
  'TransactionNotFound',
  'ProducerFenced',
] as const
export type ServerError = (typeof SERVER_ERRORS)[number]
