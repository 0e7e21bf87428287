/**
 * The transport contract: five verbs over topics of messages. Each comment is a promise, and each promise is a case of
 * the conformance suite. (Message, not Record: TypeScript already has a Record.)
 */

/** A topic of one tenant. Kafka: `name`, or `_tenant.tenant.namespace.name`; Pulsar: persistent://tenant/namespace/name. */
export interface Topic {
  readonly name: string
  readonly tenant?: string
  readonly namespace?: string
}

export interface Message {
  /** Equal keys stay in order, within and across appends. No key: no order is promised. */
  readonly key?: Uint8Array
  /** The plain encoded body; a transport never looks inside. null is a tombstone: compaction forgets the key. */
  readonly value: Uint8Array | null
  /** Event time, milliseconds since the epoch. */
  readonly time: number
  /** In order, names may repeat. */
  readonly headers?: readonly Header[]
  /** Which schema the body was encoded with; each transport carries it in its native way. */
  readonly schema?: SchemaRef
}

export type Header = readonly [name: string, value: Uint8Array]

export interface SchemaRef {
  readonly subject: string
  readonly version: number
}

/** A place in one partition. Opaque outside its transport; ordered within its partition; survives being stored as text. */
export interface Position {
  readonly partition: number
  readonly at: string
}

export interface Received extends Message {
  readonly topic: Topic
  readonly position: Position
  /** When the log took it, milliseconds since the epoch. */
  readonly appendedAt: number
}

/**
 * Where a reader starts, or a group that has no position yet. `after` is exclusive, and a partition it does not name
 * starts at its earliest; a position whose successors are gone throws POSITION_GONE. `time`: the first message the log
 * took at or after it.
 */
export type From = 'earliest' | 'latest' | { readonly after: readonly Position[] } | { readonly time: number }

export interface Transport extends AsyncDisposable {
  /** Stable id of the cluster or store: part of cursors and of provenance. */
  readonly cluster: string
  /** What this transport promises. The suite tests every promise that is made. */
  readonly guarantees: Guarantees
  readonly admin: Admin

  /**
   * Resolves when all are durable, in the order given per key; if it rejects, some may be there and none is promised.
   * Topics exist before they are used: NOT_FOUND otherwise.
   */
  append(topic: Topic, messages: readonly Message[], options?: AppendOptions): Promise<readonly Position[]>

  /** Committed messages after `from`, in order per partition, then tails until the signal aborts. Remembers nothing. */
  read(topic: Topic, options: ReadOptions): AsyncIterable<readonly Received[]>

  /**
   * Shares a topic's messages among a group's members, at least once. `handle` resolving acknowledges; throwing a
   * retryable error (any but a WeftError that says otherwise) holds that key back and tries again, others flow; after
   * `maxAttempts`, or at once for one that is not retryable, the message goes to the dead-letter topic with its cause,
   * attempts and origin, and only then is it acknowledged.
   */
  subscribe(topic: Topic, options: SubscribeOptions, handle: Handle): Promise<Running>

  /**
   * Exactly-once read-process-write. For each batch of one input partition: what `process` appended, the positions it
   * consumed and its state changes become visible together or not at all. An owner that was replaced can never commit.
   * Several topics are co-partitioned: they have equally many partitions, and partition n of each shares one state.
   */
  transact(topics: readonly Topic[], options: TransactOptions, process: Process): Promise<Running>

  /** Appends what comes from elsewhere exactly once: a sequence at or below the last one of its writer and topic vanishes. */
  writer(name: string): Promise<Writer>

  /** Below 0 if `a` lies before `b`, 0 if they are the same place. Both of one topic and partition. */
  compare(a: Position, b: Position): number
}

export interface AppendOptions {
  /** Puts all of them there whatever their keys say: for what concerns a partition and not a key, such as ticks. */
  readonly partition?: number
}

export interface ReadOptions {
  readonly from: From
  readonly partitions?: readonly number[]
  /** Ends the iteration when all up to and with these was read, such as the ends that `describe` tells. What it does not name is not read. */
  readonly to?: readonly Position[]
  /** Ends the iteration without an error. */
  readonly signal?: AbortSignal
  /** Bytes fetched ahead of the reader at most, and so about the size of a batch. */
  readonly maxBytes?: number
}

export interface SubscribeOptions {
  readonly group: string
  /**
   * key-shared (the default): equal keys go to one member at a time, in order, also over retries. shared: no order.
   * failover: one member at a time for a partition, the others stand by. exclusive: a second member is refused (FENCED).
   */
  readonly mode?: 'key-shared' | 'shared' | 'failover' | 'exclusive'
  /** For a group without a position. Default: earliest. */
  readonly from?: From
  /** Messages handed out and not yet settled, at most: the back pressure. */
  readonly maxUnacked?: number
  readonly retry?: Retry
  /** Default: the topic's name with `.dlq` behind it, made if missing. */
  readonly deadLetters?: Topic
}

export interface Retry {
  /** Default 5. */
  readonly maxAttempts?: number
  /** The first wait, doubled each time up to `maxMs`, each with full jitter. Defaults 100 and 30,000. */
  readonly minMs?: number
  readonly maxMs?: number
}

/** `signal` aborts when the member is being stopped or has lost the message to another: work that can stop should. */
export type Handle = (
  message: Received,
  context: { readonly attempt: number; readonly signal: AbortSignal },
) => Promise<void> | void

export interface TransactOptions {
  readonly group: string
  readonly from?: From
  /** A transaction ends after this many milliseconds or messages, whichever is first. */
  readonly commitEvery?: { readonly ms?: number; readonly messages?: number }
  /** A batch that keeps throwing is taken message by message; the one that throws alone is dead-lettered in the transaction. */
  readonly retry?: Retry
  readonly deadLetters?: Topic
}

/** Called with one partition's messages in order; never twice at once for a partition. Throwing aborts the transaction. */
export type Process = (batch: readonly Received[], transaction: Transaction) => Promise<void> | void

export interface Transaction {
  readonly partition: number
  /** Aborts when the partition is being given up: work that can stop should. */
  readonly signal: AbortSignal
  /** Visible to others when the transaction commits. */
  append(topic: Topic, messages: readonly Message[], options?: AppendOptions): void
  /** This group's keyed state of the partition: reads see writes of the same transaction; undefined deletes. */
  get(store: string, key: Uint8Array): Uint8Array | undefined
  set(store: string, key: Uint8Array, value: Uint8Array | undefined): void
  /** From `from` up to and without `to`, in the order of the keys' bytes. */
  range(store: string, from: Uint8Array, to: Uint8Array): Iterable<readonly [key: Uint8Array, value: Uint8Array]>
}

export interface Writer extends AsyncDisposable {
  /** The last sequence of this writer that the topic holds; undefined if none. */
  last(topic: Topic): Promise<bigint | undefined>
  /** Sequences rise. Taking a writer's name over fences whoever had it before: FENCED. */
  append(topic: Topic, messages: readonly { readonly sequence: bigint; readonly message: Message }[]): Promise<void>
}

/** A member at work. Disposing it finishes or aborts what is in flight, commits, and leaves the group; nothing is dead-lettered by it. */
export interface Running extends AsyncDisposable {
  /** Rejects when the member can't go on; resolves when it was disposed. */
  readonly done: Promise<void>
  /** Per partition that this member has: how far behind, in messages and milliseconds, and when it last moved. */
  lag(): Promise<readonly Lag[]>
}

export interface Lag {
  readonly topic: Topic
  readonly partition: number
  readonly messages: number
  /** Age of the oldest message not yet settled; 0 without lag. */
  readonly ms: number
  /** Milliseconds since the epoch at which the member last settled something here, or was handed the partition. */
  readonly movedAt: number
  /** While the state of the partition is still being read: nothing of it is processed before. */
  readonly restoring?: Restoring
}

/** Entries of a changelog, read of how many, and since when in milliseconds since the epoch. */
export interface Restoring {
  readonly done: number
  readonly of: number
  readonly since: number
}

export interface Guarantees {
  readonly durable: boolean
  readonly exactlyOnce: boolean
  readonly appendOnce: boolean
  readonly keyShared: boolean
  readonly compaction: boolean
  /** broker: enforced by the broker or store; convention: only our own clients keep to it. */
  readonly tenants: 'broker' | 'convention'
  /** Key, value and headers together; TOO_LARGE above. */
  readonly maxMessageBytes: number
}

export interface Admin {
  /** Creates what is missing; returns what differs and was left alone, a sentence each. */
  ensure(topics: readonly TopicSpec[]): Promise<readonly string[]>
  /**
   * Changes topics to what is asked for. INVALID, with the way out, if one of them has to stay as it is (see
   * topicDifferences), and then none is changed.
   */
  alter(topics: readonly TopicSpec[]): Promise<void>
  topics(): Promise<readonly TopicSpec[]>
  /** Reading after `first` gives all there is, after `end` only what is yet to come. One each per partition, in order. */
  describe(topic: Topic): Promise<{ partitions: number; first: readonly Position[]; end: readonly Position[] }>
  /** Where a reader from there starts, one place per partition, in order: reading after these gives the same. */
  positions(topic: Topic, from: From): Promise<readonly Position[]>
  groups(): Promise<readonly GroupLag[]>
  /**
   * Puts a group where a reader from there starts. INVALID, naming its members, while it has some; NOT_FOUND if it never
   * had a position in the topic. What state it keeps stays as it is.
   */
  reset(group: string, topic: Topic, to: From, options?: ResetOptions): Promise<Reset>
}

export interface ResetOptions {
  /** Others stay where they are. Default: all. */
  readonly partitions?: readonly number[]
  /** Only tells what would be done. */
  readonly dryRun?: boolean
}

export interface Reset {
  /** Of each partition the place that the group goes on after. `was` is undefined where it had none. */
  readonly moved: readonly { readonly was: Position | undefined; readonly now: Position }[]
  /** Whether the group keeps state, in which what it reads again was counted already. */
  readonly stateful: boolean
}

export interface GroupLag {
  readonly group: string
  readonly topic: Topic
  readonly partition: number
  /** Messages not yet settled. */
  readonly lag: number
  /** The member that has the partition; undefined if none. */
  readonly member?: string
}

export interface TopicSpec {
  readonly topic: Topic
  readonly partitions: number
  readonly retentionMs?: number
  /** Of each partition. */
  readonly retentionBytes?: number
  readonly cleanup?: 'delete' | 'compact'
  /** Copies of each partition, and how many of them have to hold what is durable. Default: the cluster's; no matter to one without. */
  readonly replicas?: number
  readonly minInSync?: number
}

export type Code =
  | 'CLOSED'
  | 'DENIED'
  | 'FENCED'
  | 'INVALID'
  | 'NOT_FOUND'
  | 'POSITION_GONE'
  | 'SCHEMA'
  | 'TOO_LARGE'
  | 'UNAVAILABLE'

/** The one error class. `retryable` is decided where it is thrown; `cause` keeps what happened below. */
export class WeftError extends Error {
  override readonly name = 'WeftError'
  readonly code: Code
  readonly retryable: boolean
  constructor(code: Code, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? code === 'UNAVAILABLE'
  }
}
