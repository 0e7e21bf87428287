import { checkAlterable, checkSpec, titleOf } from '../checks.ts'
import { describeTopicDifference, topicDifferences } from '../topic-differences.ts'
import { type Topic, type TopicSpec, WeftError } from '../transport.ts'
import { KEY } from './keys.ts'
import type { Store } from './store.ts'

export interface TopicEntry {
  readonly id: number
  readonly spec: TopicSpec
}

export const identityOf = ({ tenant = '', namespace = '', name }: Topic): string =>
  JSON.stringify([tenant, namespace, name])

const NAME = /^[A-Za-z0-9._-]{1,249}$/

/** The store's topics as one tenant sees them; without a tenant all. */
export class Topics {
  readonly #store: Store
  readonly #tenant: string | undefined
  readonly #known = new Map<string, TopicEntry>()

  constructor(store: Store, tenant: string | undefined) {
    this.#store = store
    this.#tenant = tenant
  }

  /** NOT_FOUND if it was not made; DENIED if it is another tenant's. */
  resolve(topic: Topic): TopicEntry {
    this.#allow(topic)
    const identity = identityOf(topic)
    let entry = this.#known.get(identity)
    if (!entry) {
      entry = this.#store.json<TopicEntry>(KEY.topic(identity))
      if (!entry)
        throw new WeftError('NOT_FOUND', `there is no topic "${titleOf(topic)}": make it with admin.ensure first`)
      this.#known.set(identity, entry)
    }
    return entry
  }

  all(): TopicEntry[] {
    return this.#store
      .entries<TopicEntry>(Buffer.from('t'), Buffer.from('u'))

      .filter(({ spec }) => this.#tenant === undefined || spec.topic.tenant === this.#tenant)
  }

  /** A group's or a writer's name among all tenants': equal names of different tenants are different ones. */
  own(name: string): string {
    return JSON.stringify([this.#tenant ?? '', name])
  }

  async ensure(specs: readonly TopicSpec[]): Promise<string[]> {
    for (const spec of specs) {
      this.#allow(spec.topic)
      validate(spec)
    }
    if (specs.every(spec => this.#store.json(KEY.topic(identityOf(spec.topic)))))
      return specs.flatMap(spec => differences(this.resolve(spec.topic).spec, spec))
    return this.#store.committer.commit(transaction =>
      specs.flatMap(spec => {
        const key = KEY.topic(identityOf(spec.topic))
        const existing = this.#store.json<TopicEntry>(key)
        if (existing) return differences(existing.spec, spec)
        transaction.putJson(key, { id: transaction.newId('topic'), spec: kept(spec) } satisfies TopicEntry)
        return []
      }),
    )
  }

  async alter(specs: readonly TopicSpec[]): Promise<void> {
    for (const spec of specs) {
      validate(spec)
      this.resolve(spec.topic)
    }
    await this.#store.committer.commit(transaction => {
      const entries = specs.map(spec => {
        const key = KEY.topic(identityOf(spec.topic))
        const entry = this.#store.json<TopicEntry>(key) as TopicEntry
        checkAlterable(entry.spec, spec)
        const changes = topicDifferences(entry.spec, spec).map(({ field, wanted }) => [field, wanted])
        return { key, entry: { ...entry, spec: { ...entry.spec, ...Object.fromEntries(changes) } } }
      })
      for (const { key, entry } of entries) transaction.putJson(key, entry)
    })
    for (const { topic } of specs) this.#known.delete(identityOf(topic))
  }

  #allow(topic: Topic): void {
    if (this.#tenant !== undefined && topic.tenant !== this.#tenant)
      throw new WeftError('DENIED', `topic "${titleOf(topic)}" does not belong to tenant "${this.#tenant}"`)
  }
}

/** There is one copy here, of which nobody is told more. */
const kept = ({ replicas: _replicas, minInSync: _minInSync, ...spec }: TopicSpec): TopicSpec => spec

function validate(spec: TopicSpec): void {
  const { topic } = spec
  for (const part of [topic.name, topic.tenant, topic.namespace])
    if (part !== undefined && !NAME.test(part))
      throw new WeftError(
        'INVALID',
        `topic "${titleOf(topic)}": a name has 1 to 249 letters, digits, dots, underscores and hyphens`,
      )
  checkSpec(spec)
}

const differences = (existing: TopicSpec, wanted: TopicSpec): string[] =>
  topicDifferences(existing, wanted).map(describeTopicDifference)
