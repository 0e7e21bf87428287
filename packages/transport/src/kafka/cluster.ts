import type { SchemaIds } from '../schema-ids.ts'
import { type TopicSpec, WeftError } from '../transport.ts'
import { type Broker, type Driver, KafkaError, type Lane, type Metadata, type Place } from './driver.ts'
import { isPassing, persist, weftError } from './errors.ts'

/** How long a topic's partitions and leaders are believed without asking again, in milliseconds. */
const METADATA_MS = 300_000

interface Known {
  readonly leaders: readonly number[]
  readonly at: number
}

interface Beside {
  readonly ids?: SchemaIds | undefined
  readonly copies?: Pick<TopicSpec, 'replicas' | 'minInSync'>
}

/** Who answers for what: leaders of partitions, coordinators of groups and transactions, asked once and then remembered. */
export class Cluster {
  readonly id: string
  readonly driver: Driver
  /** For requests that are answered at once. */
  readonly control: Lane
  readonly data: Lane
  /** How long what passes by itself is tried again before it counts as an outage, in milliseconds. */
  readonly patienceMs: number
  /** Of the registry by which values are framed; without one they are not. */
  readonly ids: SchemaIds | undefined
  /** Of topics that are made here and don't say themselves. */
  readonly copies: Pick<TopicSpec, 'replicas' | 'minInSync'>
  readonly #brokers = new Map<number, Broker>()
  readonly #topics = new Map<string, Known>()
  readonly #coordinators = new Map<string, Broker>()
  #controller = -1

  static async open(driver: Driver, patienceMs: number, beside: Beside = {}): Promise<Cluster> {
    const control = driver.lane()
    try {
      const metadata = await persist(() => control.metadata([]), { forMs: patienceMs })
      return new Cluster(driver, control, metadata, patienceMs, beside)
    } catch (error) {
      await control[Symbol.asyncDispose]()
      throw weftError(error)
    }
  }

  private constructor(
    driver: Driver,
    control: Lane,
    metadata: Metadata,
    patienceMs: number,
    { ids, copies = {} }: Beside,
  ) {
    this.driver = driver
    this.control = control
    this.data = driver.lane()
    this.id = metadata.cluster
    this.patienceMs = patienceMs
    this.ids = ids
    this.copies = copies
    this.#learn(metadata)
  }

  #learn({ brokers, controller, topics }: Metadata): void {
    this.#controller = controller
    for (const broker of brokers) this.#brokers.set(broker.id, broker)
    for (const { name, leaders, error } of topics)
      if (error === undefined) this.#topics.set(name, { leaders, at: performance.now() })
      else this.#topics.delete(name)
  }

  brokers(): readonly Broker[] {
    return [...this.#brokers.values()]
  }

  async controller(): Promise<Broker> {
    this.#learn(await this.control.metadata([]))
    return this.#broker(this.#controller)
  }

  /** The number of a topic's partitions, if it is known without asking. */
  known(topic: string): number | undefined {
    return this.#topics.get(topic)?.leaders.length
  }

  /** The number of a topic's partitions; undefined if there is no such topic. */
  async partitions(topic: string): Promise<number | undefined> {
    return (await this.#topic(topic))?.leaders.length
  }

  async #topic(name: string): Promise<Known | undefined> {
    const known = this.#topics.get(name)
    if (known && performance.now() - known.at < METADATA_MS) return known
    const metadata = await persist(() => this.control.metadata([name]), { forMs: this.patienceMs })
    this.#learn(metadata)
    const [found] = metadata.topics
    if (found?.error !== undefined && found.error !== 'UNKNOWN_TOPIC_OR_PARTITION')
      throw new KafkaError(found.error, `topic "${name}": ${found.error}`)
    return this.#topics.get(name)
  }

  /** All topics of the cluster, asked anew. */
  async all(): Promise<Metadata['topics']> {
    const metadata = await persist(() => this.control.metadata(null), { forMs: this.patienceMs })
    this.#learn(metadata)
    return metadata.topics
  }

  async leader({ topic, partition }: Place): Promise<Broker> {
    const leader = (await this.#topic(topic))?.leaders[partition]
    if (leader === undefined) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION', `there is no ${topic}/${partition}`)
    if (leader === -1) this.forget(topic)
    return this.#broker(leader)
  }

  #broker(id: number): Broker {
    const broker = this.#brokers.get(id)
    if (!broker) throw new KafkaError('LEADER_NOT_AVAILABLE', 'a partition has no leader at the moment')
    return broker
  }

  /** What was known of a topic turned out to be wrong. */
  forget(topic: string): void {
    const known = this.#topics.get(topic)
    // That it is there, and in how many partitions, is still the best guess.
    if (known) this.#topics.set(topic, { ...known, at: Number.NEGATIVE_INFINITY })
  }

  /** The places by the broker that leads each. */
  async byLeader<P extends Place>(places: readonly P[]): Promise<Map<Broker, P[]>> {
    const brokers = new Map<Broker, P[]>()
    for (const place of places) {
      const leader = await this.leader(place)
      const some = brokers.get(leader)
      if (some) some.push(place)
      else brokers.set(leader, [place])
    }
    return brokers
  }

  /** Asks the coordinator of a group or a transactional id, on a lane; tries again what passes for `forMs`. */
  async coordinated<T>(
    kind: 'group' | 'transaction',
    key: string,
    ask: (coordinator: Broker) => Promise<T>,
    { forMs = this.patienceMs, signal }: { forMs?: number; signal?: AbortSignal } = {},
  ): Promise<T> {
    const name = `${kind}:${key}`
    return persist(
      async () => {
        let coordinator = this.#coordinators.get(name)
        if (!coordinator) {
          coordinator = await this.control.coordinator(kind, key)
          this.#coordinators.set(name, coordinator)
        }
        try {
          return await ask(coordinator)
        } catch (error) {
          if (isPassing(error) && error.code !== 'CONCURRENT_TRANSACTIONS') this.#coordinators.delete(name)
          throw error
        }
      },
      { forMs, ...(signal && { signal }), ...(kind === 'transaction' && { maxMs: 20 }) },
    )
  }

  /** Offsets of places, by time: -1 the end of what is committed, -2 the first. */
  async offsets<P extends Place & { readonly time: bigint }>(
    places: readonly P[],
    options: { readonly uncommitted?: boolean } = {},
  ): Promise<Map<string, bigint>> {
    const found = new Map<string, bigint>()
    let asked = places
    await persist(
      async () => {
        const brokers = await this.byLeader(asked)
        const answers = await Promise.all(
          [...brokers].map(([broker, some]) => this.control.listOffsets(broker, some, options)),
        )
        let failure: KafkaError | undefined
        for (const { topic, partition, offset, error } of answers.flat()) {
          if (error === undefined) found.set(nameOf({ topic, partition }), offset)
          else {
            this.forget(topic)
            failure = new KafkaError(error, `asking for offsets of ${topic}/${partition}: ${error}`)
          }
        }
        asked = asked.filter(place => !found.has(nameOf(place)))
        if (failure) throw failure
      },
      { forMs: this.patienceMs },
    )
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver[Symbol.asyncDispose]()
  }
}

export const nameOf = ({ topic, partition }: Place): string => `${topic}/${partition}`

/** Throws what Kafka says as the contract's error. */
export async function translated<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw weftError(error)
  }
}

export const notFound = (title: string): WeftError =>
  new WeftError('NOT_FOUND', `there is no topic "${title}": make it with admin.ensure first`)
