/**
 * The port between the Kafka transport and a client library: requests to a broker and nothing more. What Kafka clients
 * usually do around them (batching, fencing, groups, read committed, retries) exists once, above it.
 */
export interface Driver extends AsyncDisposable {
  /**
   * Connections of their own, one per broker. A broker answers the requests of a connection one after the other, so what
   * may wait (fetching, joining a group) has a lane to itself. `timeoutMs`: no answer in that time is an error.
   */
  lane(options?: { readonly timeoutMs?: number }): Lane
}

/** How a driver finds and meets its brokers. */
export interface DriverOptions {
  readonly brokers: readonly Address[]
  readonly clientId: string
  /** No answer in that time is an error, unless a lane says otherwise. */
  readonly timeoutMs: number
  /** Asked anew for every connection: what was renewed in the meantime counts. Undefined: neither TLS nor SASL. */
  readonly tls?: (() => Tls) | undefined
  readonly sasl?: (() => Sasl) | undefined
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** All but the name in PEM. */
export interface Tls {
  /** Whom to believe instead of the authorities that Node comes with. */
  readonly ca?: string
  /** Who we are, to brokers that ask for it. */
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** The name that brokers have to show instead of the host that was asked for. */
  readonly servername?: string
}

export interface Sasl {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  readonly username: string
  readonly password: string
}

export interface Broker extends Address {
  readonly id: number
}

/**
 * Every method throws a KafkaError when there is no answer or the answer is one error; errors that concern one of several
 * partitions, topics or groups stand in its `error`, by their names in Kafka's protocol.
 */
export interface Lane extends AsyncDisposable {
  /** Asks any broker. null: all topics. */
  metadata(topics: readonly string[] | null): Promise<Metadata>
  /** Asks any broker. */
  coordinator(kind: 'group' | 'transaction', key: string): Promise<Broker>

  produce(broker: Broker, request: ProduceRequest): Promise<readonly Produced[]>
  fetch(broker: Broker, request: FetchRequest): Promise<readonly Fetched[]>
  /** `time` -1: the end, by default as those see it who read committed; -2: the first offset; else as in Kafka's ListOffsets. */
  listOffsets(
    broker: Broker,
    places: readonly (Place & { readonly time: bigint })[],
    options?: { readonly uncommitted?: boolean },
  ): Promise<readonly (Place & Failed & { readonly offset: bigint })[]>

  joinGroup(coordinator: Broker, request: JoinRequest): Promise<Joined>
  syncGroup(
    coordinator: Broker,
    member: Membership,
    protocol: string,
    assignments: ReadonlyMap<string, Uint8Array>,
  ): Promise<Uint8Array>
  heartbeat(coordinator: Broker, member: Membership): Promise<void>
  leaveGroup(coordinator: Broker, member: Membership): Promise<void>
  /** Without places: all that the group has. `stable`: waits for nobody, says UNSTABLE_OFFSET_COMMIT of what a transaction holds open. */
  fetchOffsets(
    coordinator: Broker,
    groups: readonly { readonly group: string; readonly places?: readonly Place[] }[],
    stable: boolean,
  ): Promise<readonly GroupOffsets[]>
  commitOffsets(
    coordinator: Broker,
    member: Membership,
    offsets: readonly Committing[],
  ): Promise<readonly (Place & Failed)[]>
  listGroups(broker: Broker): Promise<readonly { readonly group: string; readonly protocolType: string }[]>
  describeGroups(coordinator: Broker, groups: readonly string[]): Promise<readonly GroupDescription[]>

  /** `current`: fails with PRODUCER_FENCED if another has had the id since. */
  initProducer(
    coordinator: Broker | undefined,
    transactionalId: string | null,
    timeoutMs: number,
    current?: Producer,
  ): Promise<Producer>
  addPartitions(
    coordinator: Broker,
    transactionalId: string,
    producer: Producer,
    places: readonly Place[],
  ): Promise<readonly (Place & Failed)[]>
  addOffsets(coordinator: Broker, transactionalId: string, producer: Producer, group: string): Promise<void>
  commitTransactionOffsets(
    coordinator: Broker,
    transactionalId: string,
    producer: Producer,
    member: Membership,
    offsets: readonly Committing[],
  ): Promise<readonly (Place & Failed)[]>
  endTransaction(coordinator: Broker, transactionalId: string, producer: Producer, commit: boolean): Promise<void>

  createTopics(broker: Broker, topics: readonly NewTopic[]): Promise<readonly NamedResult[]>
  /** Asks any broker. */
  describeTopicConfigs(topics: readonly string[], names: readonly string[]): Promise<ReadonlyMap<string, Configs>>
  alterConfigs(resource: ConfigResource, configs: Configs): Promise<void>
}

export interface Place {
  readonly topic: string
  readonly partition: number
}

export interface Failed {
  readonly error?: string
}

export interface Metadata {
  readonly cluster: string
  readonly controller: number
  readonly brokers: readonly Broker[]
  /** `leaders[partition]` is a broker's id, -1 if there is none now. */
  readonly topics: readonly (Failed & {
    readonly name: string
    readonly internal: boolean
    readonly leaders: readonly number[]
    /** Copies of each partition: of the one that has the fewest. */
    readonly replicas: number
  })[]
}

/** A record as it lies in the log. */
export interface KafkaRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly (readonly [name: Uint8Array, value: Uint8Array])[]
  readonly timestamp: bigint
}

export interface Producer {
  readonly id: bigint
  readonly epoch: number
}

export interface Batch extends Place {
  readonly sequence: number
  readonly records: readonly KafkaRecord[]
}

export interface ProduceRequest {
  readonly transactionalId?: string
  readonly producer: Producer
  /** At most one for a partition. */
  readonly batches: readonly Batch[]
  readonly compression: Compression
  readonly timeoutMs: number
}

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

export interface Produced extends Place, Failed {
  readonly offset: bigint
  readonly message?: string
}

export interface FetchRequest {
  readonly places: readonly (Place & { readonly offset: bigint; readonly maxBytes: number })[]
  readonly maxWaitMs: number
  readonly maxBytes: number
  /** Also what open transactions have written; what was taken back is not told apart then. */
  readonly uncommitted?: boolean
}

export interface Fetched extends Place, Failed {
  readonly end: bigint
  readonly stable: bigint
  readonly first: bigint
  readonly aborted: readonly { readonly producer: bigint; readonly first: bigint }[]
  readonly batches: readonly FetchedBatch[]
}

export interface FetchedBatch {
  readonly first: bigint
  readonly last: bigint
  readonly producer: bigint
  readonly transactional: boolean
  /** Of a marker: whether it ends a transaction by taking it back. */
  readonly control?: 'commit' | 'abort'
  /** When the log took it, if the topic's timestamps say that. */
  readonly appendedAt?: number
  readonly records: readonly (KafkaRecord & { readonly offset: bigint })[]
}

export interface Membership {
  readonly group: string
  readonly id: string
  readonly generation: number
}

export interface JoinRequest {
  readonly group: string
  readonly member: string
  readonly sessionMs: number
  readonly rebalanceMs: number
  readonly protocol: string
  readonly metadata: Uint8Array
}

export interface Joined {
  readonly member: string
  readonly generation: number
  readonly leader: string
  /** Only the leader is told. */
  readonly members: readonly { readonly id: string; readonly metadata: Uint8Array }[]
}

export interface Committing extends Place {
  readonly offset: bigint
  readonly metadata: string
}

export interface GroupOffsets extends Failed {
  readonly group: string
  /** Offset -1: none. */
  readonly offsets: readonly (Committing & Failed)[]
}

export interface GroupDescription extends Failed {
  readonly group: string
  readonly state: string
  readonly members: readonly { readonly id: string; readonly clientId: string; readonly assignment: Uint8Array }[]
}

export interface NewTopic {
  readonly name: string
  readonly partitions: number
  /** Default: the cluster's. */
  readonly replicas?: number | undefined
  readonly configs: Configs
}

export interface NamedResult extends Failed {
  readonly name: string
  readonly message?: string
}

export type Configs = Readonly<Record<string, string>>

/** `broker` with an empty name: the default of all brokers. */
export interface ConfigResource {
  readonly kind: 'topic' | 'broker'
  readonly name: string
}

/** `code`: the name of an error of Kafka's protocol, or NETWORK when there was no answer. */
export class KafkaError extends Error {
  override readonly name = 'KafkaError'
  readonly code: string
  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}
