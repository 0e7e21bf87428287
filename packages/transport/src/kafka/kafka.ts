import { checkGroup } from '../checks.ts'
import { deadLettersOf } from '../dead-letters.ts'
import type { OpenOptions } from '../open.ts'
import {
  type Admin,
  type AppendOptions,
  type From,
  type Guarantees,
  type Handle,
  type Message,
  type Position,
  type Process,
  type ReadOptions,
  type Received,
  type Reset,
  type Running,
  type SubscribeOptions,
  type Topic,
  type TransactOptions,
  type Transport,
  WeftError,
  type Writer,
} from '../transport.ts'
import { Appender } from './appender.ts'
import { Cluster, translated } from './cluster.ts'
import type { Driver, DriverOptions } from './driver.ts'
import { findIds } from './framing.ts'
import { groupLags } from './lags.ts'
import { LocalState } from './local-state.ts'
import { partsOf } from './parts.ts'
import { before, offsetsAt, partitionsOf, read, startsOf } from './reader.ts'
import { MAX_MESSAGE_BYTES, offsetAt, positionAt } from './record.ts'
import { reset } from './reset.ts'
import { type Sessions, subscribe } from './running.ts'
import { type TopicEntry, Topics } from './topics.ts'
import { type Transactions, transact } from './transact.ts'
import { type Settings, settingsOf } from './url.ts'
import { KafkaWriter } from './writer.ts'

/**
 * `kafka://HOST:PORT,HOST:PORT?driver=platformatic&sessionMs=10000&patienceMs=10000&…`, with TLS `kafka+ssl://`; all of
 * it stands in docs/kafka.md. DENIED: the broker does not let us in, or we don't believe it.
 */
export async function openKafka(url: string, { tenant, clientId, schemas }: OpenOptions = {}): Promise<Transport> {
  const settings = settingsOf(url)
  const name = clientId ?? `weft-${process.pid}`
  const { brokers, tls, sasl, patienceMs, replicas, minInSync } = settings
  const driver = await driverOf(settings.driver, { brokers, clientId: name, timeoutMs: patienceMs + 5_000, tls, sasl })
  const cluster = await Cluster.open(driver, patienceMs, { ids: schemas, copies: { replicas, minInSync } })
  return new Kafka(cluster, tenant, settings)
}

/** Each library is loaded when it is asked for. */
async function driverOf(name: Settings['driver'], options: DriverOptions): Promise<Driver> {
  return name === 'kafkajs'
    ? (await import('./kafkajs/kafkajs.ts')).kafkajs(options)
    : (await import('./platformatic/platformatic.ts')).platformatic(options)
}

class Kafka implements Transport {
  readonly cluster: string
  readonly admin: Admin
  readonly guarantees: Guarantees = {
    durable: true,
    exactlyOnce: true,
    appendOnce: true,
    keyShared: true,
    compaction: true,
    tenants: 'convention',
    maxMessageBytes: MAX_MESSAGE_BYTES,
  }
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #appender: Appender
  readonly #settings: Settings
  #state: Promise<LocalState> | undefined
  readonly #members = new Set<AsyncDisposable>()
  readonly #closed = new AbortController()
  #closing: Promise<void> | undefined

  constructor(cluster: Cluster, tenant: string | undefined, settings: Settings) {
    this.#cluster = cluster
    this.#topics = new Topics(cluster, tenant)
    this.#appender = new Appender(cluster, settings.compression)
    this.#settings = settings
    this.cluster = cluster.id
    this.admin = {
      ensure: async specs => translated(this.#open().ensure(specs)),
      alter: async specs => translated(this.#open().alter(specs)),
      topics: async () => translated(this.#open().all()),
      describe: async topic => translated(this.#describe(topic)),
      positions: async (topic, from) => translated(this.#positions(topic, from)),
      reset: async (group, topic, to, options) => translated(this.#reset(group, topic, to, options)),
      groups: async () => translated(groupLags(this.#cluster, await this.#open().names())),
    }
  }

  async append(topic: Topic, messages: readonly Message[], options?: AppendOptions): Promise<readonly Position[]> {
    const topics = this.#open()
    const entry = topics.known(topic) ?? (await translated(topics.resolve(topic)))
    const { ids } = this.#cluster
    const finding = findIds(messages, ids)
    if (finding) await finding
    this.#open()
    const positions = new Array<Position>(messages.length)
    await Promise.all(
      partsOf(entry, messages, { ...options, ids }).map(async part => {
        const offsets = await this.#appender.append(part)
        for (const [i, place] of part.places.entries())
          positions[place] = positionAt(part.partition, offsets[i] as bigint)
      }),
    )
    return positions
  }

  read(topic: Topic, options: ReadOptions): AsyncIterable<readonly Received[]> {
    return read(this.#cluster, async () => this.#open().resolve(topic), options, this.#closed.signal)
  }

  async subscribe(topic: Topic, options: SubscribeOptions, handle: Handle): Promise<Running> {
    const entry = await translated(this.#open().resolve(topic))
    checkGroup(options.group)
    const { maxUnacked } = options
    if (maxUnacked !== undefined && !(maxUnacked >= 1))
      throw new WeftError('INVALID', `maxUnacked must be a number from 1 on, not ${maxUnacked}`)
    const deadLetters = await this.#deadLetters(entry, options.deadLetters)
    return this.#keep(
      await subscribe(
        this.#cluster,
        this.#appender,
        entry,
        deadLetters,
        this.#topics.own(options.group),
        options,
        this.#sessions,
        handle,
      ),
    )
  }

  async #deadLetters({ topic, partitions }: TopicEntry, asked: Topic | undefined): Promise<TopicEntry> {
    const target = asked ?? deadLettersOf(topic)
    await translated(this.#topics.ensure([{ topic: target, partitions }]))
    return translated(this.#topics.resolve(target))
  }

  get #sessions(): Sessions {
    const { sessionMs, handoverMs } = this.#settings
    return { sessionMs, rebalanceMs: Math.max(30_000, 3 * sessionMs), handoverMs }
  }

  /** A member that came when the transport was already closed leaves at once. */
  async #keep(running: Running): Promise<Running> {
    this.#members.add(running)
    const forget = () => this.#members.delete(running)
    running.done.then(forget, forget)
    if (this.#closed.signal.aborted) await running[Symbol.asyncDispose]()
    return running
  }

  async transact(topics: readonly Topic[], options: TransactOptions, process: Process): Promise<Running> {
    for (const topic of topics) this.#open().allow(topic)
    const inputs = await translated(Promise.all(topics.map(topic => this.#open().resolve(topic))))
    checkGroup(options.group)
    if (new Set(inputs.map(({ partitions }) => partitions)).size !== 1)
      throw new WeftError(
        'INVALID',
        inputs.length === 0
          ? 'transact needs at least one topic'
          : `topics of one transact have equally many partitions, not ${inputs.map(({ topic, partitions }) => `${topic.name}: ${partitions}`).join(', ')}`,
      )
    const deadLetters = await Promise.all(inputs.map(entry => this.#deadLetters(entry, options.deadLetters)))
    const state = await this.#localState()
    return this.#keep(
      await transact(
        this.#cluster,
        this.#topics,
        state,
        inputs,
        deadLetters,
        this.#topics.own(options.group),
        options,
        this.#sessions,
        this.#transactions,
        process,
      ),
    )
  }

  #localState(): Promise<LocalState> {
    const opening = this.#state ?? LocalState.open(this.#settings.state)
    this.#state = opening
    // What fails once may succeed the next time.
    opening.catch(() => {
      if (this.#state === opening) this.#state = undefined
    })
    return opening
  }

  get #transactions(): Transactions {
    const { transactionMs, compression, standbys } = this.#settings
    return { timeoutMs: transactionMs, compression, standbys }
  }

  async writer(name: string): Promise<Writer> {
    const topics = this.#open()
    return KafkaWriter.open(name, this.#cluster, topics, this.#transactions, this.#closed.signal)
  }

  compare(a: Position, b: Position): number {
    return Number(offsetAt(a) - offsetAt(b))
  }

  async #describe(topic: Topic): ReturnType<Admin['describe']> {
    const entry = await this.#open().resolve(topic)
    const partitions = partitionsOf(entry)
    const [first, end] = await Promise.all([-2n, -1n].map(time => offsetsAt(this.#cluster, entry, partitions, time)))
    return { partitions: entry.partitions, first: before(first ?? []), end: before(end ?? []) }
  }

  async #positions(topic: Topic, from: From): Promise<readonly Position[]> {
    const entry = await this.#open().resolve(topic)
    return before(await startsOf(this.#cluster, entry, partitionsOf(entry), from))
  }

  async #reset(...[group, topic, to, options]: Parameters<Admin['reset']>): Promise<Reset> {
    const topics = this.#open()
    return reset(this.#cluster, await topics.resolve(topic), group, topics.own(group), to, options)
  }

  #open(): Topics {
    if (this.#closed.signal.aborted) throw new WeftError('CLOSED', 'the transport was closed')
    return this.#topics
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#closed.abort()
    await Promise.allSettled([...this.#members].map(member => member[Symbol.asyncDispose]()))
    await this.#appender.close()
    await (await this.#state?.catch(() => undefined))?.close()
    await this.#cluster[Symbol.asyncDispose]()
  }
}
