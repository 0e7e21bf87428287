import { setTimeout as sleep } from 'node:timers/promises'
import { checkAlterable, checkSpec, titleOf } from '../checks.ts'
import { DEAD_LETTER_BYTES } from '../dead-letters.ts'
import type { SchemaIds } from '../schema-ids.ts'
import { describeTopicDifference, topicDifferences } from '../topic-differences.ts'
import { type Topic, type TopicSpec, WeftError } from '../transport.ts'
import { type Cluster, notFound } from './cluster.ts'
import { type Configs, KafkaError, type Metadata, type NewTopic } from './driver.ts'
import { persist } from './errors.ts'
import { isOwn, nameOfOwn, nameOfTopic, topicOfName } from './names.ts'
import { MAX_MESSAGE_BYTES } from './record.ts'

/** A topic as Kafka knows it. */
export interface TopicEntry {
  readonly topic: Topic
  readonly name: string
  readonly partitions: number
}

const MEBIBYTE = 1024 * 1024
const SHOWN = ['retention.ms', 'retention.bytes', 'cleanup.policy', 'min.insync.replicas'] as const

/** The cluster's topics as one tenant sees them; without a tenant all. */
export class Topics {
  readonly #cluster: Cluster
  readonly #tenant: string | undefined

  constructor(cluster: Cluster, tenant: string | undefined) {
    this.#cluster = cluster
    this.#tenant = tenant
  }

  get ids(): SchemaIds | undefined {
    return this.#cluster.ids
  }

  /** DENIED if it is another tenant's. */
  allow(topic: Topic): void {
    if (this.#tenant !== undefined && topic.tenant !== this.#tenant)
      throw new WeftError('DENIED', `topic "${titleOf(topic)}" does not belong to tenant "${this.#tenant}"`)
  }

  /** A group's or a writer's name, apart from those of other tenants. */
  own(name: string): string {
    return nameOfOwn(name, this.#tenant)
  }

  /** NOT_FOUND if it was not made. */
  async resolve(topic: Topic): Promise<TopicEntry> {
    this.allow(topic)
    const name = nameOfTopic(topic)
    const partitions = this.#cluster.known(name) ?? (await this.#cluster.partitions(name))
    if (partitions === undefined) throw notFound(titleOf(topic))
    return { topic, name, partitions }
  }

  /** The same without asking; undefined if that would be needed. */
  known(topic: Topic): TopicEntry | undefined {
    this.allow(topic)
    const name = nameOfTopic(topic)
    const partitions = this.#cluster.known(name)
    return partitions === undefined ? undefined : { topic, name, partitions }
  }

  /** The names of all that this tenant may see. */
  async names(): Promise<Map<string, TopicEntry>> {
    const found = new Map<string, TopicEntry>()
    for (const { name, internal, leaders } of await this.#cluster.all()) {
      if (internal || isOwn(name)) continue
      const topic = topicOfName(name)
      if (this.#tenant === undefined || topic.tenant === this.#tenant)
        found.set(name, { topic, name, partitions: leaders.length })
    }
    return found
  }

  async all(): Promise<TopicSpec[]> {
    return this.#specs(await this.names())
  }

  /** As they are now, in the order given. */
  async #specs(wanted: ReadonlyMap<string, { readonly topic: Topic }>): Promise<TopicSpec[]> {
    const found = new Map((await this.#cluster.all()).map(each => [each.name, each]))
    const names = [...wanted.keys()].filter(name => found.has(name))
    const configs = await this.#configs(names)
    return names.map(name => {
      const { leaders, replicas } = found.get(name) as Metadata['topics'][number]
      const { topic } = wanted.get(name) as { topic: Topic }
      return specOf({ topic, partitions: leaders.length, replicas }, configs.get(name) ?? {})
    })
  }

  async ensure(specs: readonly TopicSpec[]): Promise<string[]> {
    for (const spec of specs) {
      this.allow(spec.topic)
      validate(spec)
    }
    const wanted = new Map(specs.map(spec => [nameOfTopic(spec.topic), spec]))
    const existing = new Set((await this.#cluster.all()).map(({ name }) => name))
    const missing = [...wanted].filter(([name]) => !existing.has(name))
    await createTopics(
      this.#cluster,
      missing.map(([name, spec]) => ({
        name,
        partitions: spec.partitions,
        replicas: spec.replicas,
        configs: configsOf(spec),
      })),
    )
    const there = new Map([...wanted].filter(([name]) => existing.has(name)))
    if (there.size === 0) return []
    return (await this.#specs(there))
      .flatMap(spec => topicDifferences(spec, there.get(nameOfTopic(spec.topic)) as TopicSpec))
      .map(describeTopicDifference)
  }

  async alter(specs: readonly TopicSpec[]): Promise<void> {
    const wanted = new Map<string, TopicSpec>()
    for (const spec of specs) {
      validate(spec)
      wanted.set((await this.resolve(spec.topic)).name, spec)
    }
    const existing = await this.#specs(wanted)
    for (const spec of existing) checkAlterable(spec, wanted.get(nameOfTopic(spec.topic)) as TopicSpec)
    for (const spec of existing) {
      const name = nameOfTopic(spec.topic)
      const changes = topicDifferences(spec, wanted.get(name) as TopicSpec)
      const configs = limitsOf(Object.fromEntries(changes.map(change => [change.field, change.wanted])))
      const alter = () => this.#cluster.control.alterConfigs({ kind: 'topic', name }, configs)
      if (Object.keys(configs).length > 0) await persist(alter, { forMs: this.#cluster.patienceMs })
    }
  }

  #configs(names: readonly string[]): Promise<ReadonlyMap<string, Configs>> {
    if (names.length === 0) return Promise.resolve(new Map())
    const ask = () => this.#cluster.control.describeTopicConfigs(names, SHOWN)
    return persist(ask, { forMs: this.#cluster.patienceMs })
  }
}

/** Makes topics; another that makes the same at the same time does no harm. Resolves when they can be used. */
export async function createTopics(cluster: Cluster, topics: readonly NewTopic[]): Promise<void> {
  const { replicas, minInSync } = cluster.copies
  let missing = topics.map(topic => ({
    ...topic,
    replicas: topic.replicas ?? replicas,
    configs: { ...limitsOf({ minInSync }), ...topic.configs },
  }))
  if (missing.length === 0) return
  await persist(
    async () => {
      const results = await cluster.control.createTopics(await cluster.controller(), missing)
      missing = missing.filter(({ name }) =>
        results.some(each => each.name === name && each.error !== undefined && each.error !== 'TOPIC_ALREADY_EXISTS'),
      )
      const failure = results.find(({ name }) => missing.some(topic => topic.name === name))
      if (failure)
        throw new KafkaError(failure.error ?? '', `topic "${failure.name}": ${failure.message ?? failure.error}`)
    },
    { forMs: cluster.patienceMs },
  )
  // A broker learns of a new topic a moment after the controller has made it.
  for (;;) {
    const known = new Map((await cluster.all()).map(each => [each.name, each]))
    const usable = topics.every(({ name }) => {
      const { error, leaders = [] } = known.get(name) ?? {}
      return error === undefined && leaders.length > 0 && leaders.every(leader => leader !== -1)
    })
    if (usable) return
    await sleep(10)
  }
}

function validate(spec: TopicSpec): void {
  nameOfTopic(spec.topic)
  checkSpec(spec)
}

/** Largest record batch, in bytes: one message of the largest size as a dead letter, and what Kafka writes around it. */
export const MAX_BATCH_BYTES = MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES + 64 * 1024

export function configsOf({ cleanup = 'delete', ...limits }: Omit<TopicSpec, 'topic' | 'partitions'>): Configs {
  return {
    'cleanup.policy': cleanup,
    'message.timestamp.type': 'LogAppendTime',
    'max.message.bytes': String(MAX_BATCH_BYTES),
    'retention.ms': '-1',
    'retention.bytes': '-1',
    ...limitsOf(limits),
  }
}

/** What can be changed of a topic that is there. */
function limitsOf({
  retentionMs,
  retentionBytes,
  minInSync,
}: Pick<TopicSpec, 'retentionMs' | 'retentionBytes' | 'minInSync'>): Configs {
  const within = (value: number, least: number, most: number) =>
    String(Math.round(Math.min(most, Math.max(least, value))))
  return {
    // Whole segments go, so they must be a good deal smaller than what is to stay; 1 MiB is the least Kafka takes.
    ...(retentionBytes !== undefined && {
      'retention.bytes': String(retentionBytes),
      'segment.bytes': within(retentionBytes / 4, MEBIBYTE, 1024 * MEBIBYTE),
    }),
    ...(retentionMs !== undefined && {
      'retention.ms': String(retentionMs),
      'segment.ms': within(retentionMs / 4, 60_000, 7 * 86_400_000),
    }),
    ...(minInSync !== undefined && { 'min.insync.replicas': String(minInSync) }),
  }
}

function specOf(there: Pick<TopicSpec, 'topic' | 'partitions' | 'replicas'>, configs: Configs): TopicSpec {
  const limit = (name: string) => {
    const value = Number(configs[name] ?? -1)
    return value < 0 ? undefined : value
  }
  const [retentionMs, retentionBytes] = [limit('retention.ms'), limit('retention.bytes')]
  const minInSync = limit('min.insync.replicas')
  return {
    ...there,
    ...(retentionMs === undefined ? {} : { retentionMs }),
    ...(retentionBytes === undefined ? {} : { retentionBytes }),
    cleanup: configs['cleanup.policy']?.includes('compact') ? 'compact' : 'delete',
    ...(minInSync === undefined ? {} : { minInSync }),
  }
}
