import { checkGroup } from '../checks.ts'
import { deadLettersOf } from '../dead-letters.ts'
import type { OpenOptions } from '../open.ts'
import {
  type Admin,
  type AppendOptions,
  type From,
  type GroupLag,
  type Guarantees,
  type Handle,
  type Message,
  type Position,
  type Process,
  type ReadOptions,
  type Received,
  type Running,
  type SubscribeOptions,
  type Topic,
  type TopicSpec,
  type TransactOptions,
  type Transport,
  WeftError,
  type Writer,
} from '../transport.ts'
import { Appender } from './appender.ts'
import { backupTo } from './backup.ts'
import { MAX_MESSAGE_BYTES } from './batch.ts'
import type { Maintenance } from './janitor.ts'
import { groupLags } from './lags.ts'
import { offsetAt, positionAt, read, startOf } from './reader.ts'
import { reset } from './reset.ts'
import { type Identity, subscribe, transact } from './running.ts'
import { type Settings, settingsOf } from './settings.ts'
import { Store } from './store.ts'
import { type TopicEntry, Topics } from './topics.ts'
import { EmbeddedWriter } from './writer.ts'

/** A transport whose log is a directory of this machine, shared by as many processes as open it. */
export interface EmbeddedTransport extends Transport {
  /** Applies retention and compaction now, as the janitor does every now and then by itself. */
  maintain(): Promise<Maintenance>
  /** A consistent copy of the store, made while it is in use; the directory must be empty or missing. */
  backup(directory: string): Promise<void>
}

/** See Settings for what the URL may say. */
export async function openEmbedded(
  url: string,
  { tenant, clientId = `pid-${process.pid}` }: OpenOptions = {},
): Promise<EmbeddedTransport> {
  const settings = settingsOf(url)
  const store = await Store.open(settings.directory)
  store.janitor.tombstoneMs = settings.tombstoneMs
  return new Embedded(store, tenant, clientId, settings)
}

class Embedded implements EmbeddedTransport {
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
  readonly #store: Store
  readonly #topics: Topics
  readonly #appender: Appender
  readonly #clientId: string
  readonly #settings: Settings
  readonly #members = new Set<Running>()
  readonly #closed = new AbortController()
  #closing: Promise<void> | undefined

  constructor(store: Store, tenant: string | undefined, clientId: string, settings: Settings) {
    this.#store = store
    this.#topics = new Topics(store, tenant)
    this.#appender = new Appender(store, this.#topics, settings.maxBytes)
    this.#clientId = clientId
    this.#settings = settings
    this.cluster = store.cluster
    this.admin = {
      ensure: async specs => this.#open().ensure(specs),
      alter: async specs => this.#open().alter(specs),
      topics: async () =>
        this.#open()
          .all()
          .map(({ spec }) => spec),
      describe: async topic => this.#describe(topic),
      positions: async (topic, from) => this.#positions(topic, from),
      groups: async () => this.#groups(),
      reset: async (group, topic, to, options) =>
        reset(this.#store, this.#open().resolve(topic), group, this.#topics.own(group), to, options),
    }
  }

  async append(topic: Topic, messages: readonly Message[], options?: AppendOptions): Promise<readonly Position[]> {
    this.#open()
    const prepared = this.#appender.prepare(topic, messages, options)
    if (messages.length === 0) return []
    const offsets = await this.#appender.append(prepared)
    const positions = new Array<Position>(messages.length)
    prepared.parts.forEach(({ partition, count, places }, part) => {
      const first = offsets[part] as number
      for (let i = 0; i < count; i++) positions[places ? (places[i] as number) : i] = positionAt(partition, first + i)
    })
    return positions
  }

  read(topic: Topic, options: ReadOptions): AsyncIterable<readonly Received[]> {
    try {
      return read(this.#store, this.#open().resolve(topic), topic, options, this.#closed.signal)
    } catch (error) {
      return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) }
    }
  }

  async subscribe(topic: Topic, options: SubscribeOptions, handle: Handle): Promise<Running> {
    const entry = this.#open().resolve(topic)
    checkGroup(options.group)
    const { maxUnacked } = options
    if (maxUnacked !== undefined && !(maxUnacked >= 1))
      throw new WeftError('INVALID', `maxUnacked must be a number from 1 on, not ${maxUnacked}`)
    const deadLetters = await this.#deadLetters(topic, entry, options.deadLetters)
    return this.#keep(
      await subscribe(
        this.#store,
        this.#appender,
        { topic, entry },
        deadLetters,
        options,
        this.#identity(options.group),
        handle,
      ),
    )
  }

  async transact(topics: readonly Topic[], options: TransactOptions, process: Process): Promise<Running> {
    const inputs = topics.map(topic => ({ topic, entry: this.#open().resolve(topic) }))
    checkGroup(options.group)
    const counts = new Set(inputs.map(({ entry }) => entry.spec.partitions))
    if (counts.size !== 1)
      throw new WeftError(
        'INVALID',
        inputs.length === 0
          ? 'transact needs at least one topic'
          : `topics of one transact have equally many partitions, not ${inputs.map(({ topic, entry }) => `${topic.name}: ${entry.spec.partitions}`).join(', ')}`,
      )
    const deadLetters = await Promise.all(
      inputs.map(({ topic, entry }) => this.#deadLetters(topic, entry, options.deadLetters)),
    )
    return this.#keep(
      await transact(this.#store, this.#appender, inputs, deadLetters, options, this.#identity(options.group), process),
    )
  }

  async writer(name: string): Promise<Writer> {
    return EmbeddedWriter.open(name, this.#store, this.#open(), this.#appender, this.#closed.signal)
  }

  compare(a: Position, b: Position): number {
    return offsetAt(a) - offsetAt(b)
  }

  async maintain(): Promise<Maintenance> {
    this.#open()
    return this.#store.janitor.maintain()
  }

  async backup(directory: string): Promise<void> {
    this.#open()
    await backupTo(this.#store, directory)
  }

  async #describe(topic: Topic): ReturnType<Admin['describe']> {
    const { id, spec } = this.#open().resolve(topic)
    const ends = Array.from({ length: spec.partitions }, (_, partition) => this.#store.ends(id, partition))
    return {
      partitions: spec.partitions,
      first: ends.map(({ first }, partition) => positionAt(partition, first - 1)),
      end: ends.map(({ next }, partition) => positionAt(partition, next - 1)),
    }
  }

  #positions(topic: Topic, from: From): readonly Position[] {
    const entry = this.#open().resolve(topic)
    return Array.from({ length: entry.spec.partitions }, (_, partition) =>
      positionAt(partition, startOf(this.#store, entry, partition, from) - 1),
    )
  }

  #identity(group: string): Identity {
    return { clientId: this.#clientId, sessionMs: this.#settings.sessionMs, key: this.#topics.own(group) }
  }

  #groups(): readonly GroupLag[] {
    return groupLags(this.#store, this.#open().all())
  }

  async #deadLetters(topic: Topic, entry: TopicEntry, asked: Topic | undefined): Promise<Topic> {
    const target = asked ?? deadLettersOf(topic)
    const spec: TopicSpec = { topic: target, partitions: entry.spec.partitions }
    await this.#topics.ensure([spec])
    return target
  }

  #keep(running: Running): Running {
    this.#members.add(running)
    const forget = () => this.#members.delete(running)
    running.done.then(forget, forget)
    return running
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
    await this.#store.release()
  }
}
