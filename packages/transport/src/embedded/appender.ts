import { partitionOf } from '../partitioner.ts'
import type { AppendOptions, Message, SchemaRef, Topic } from '../transport.ts'
import { type Chunk, check, encode } from './batch.ts'
import type { WriteTransaction } from './committer.ts'
import { checkPartition } from './reader.ts'
import type { Store } from './store.ts'
import type { TopicEntry, Topics } from './topics.ts'

/** Keyless messages go to one partition this many at a time. */
const STICKY = 64

/** Messages that were checked, and encoded unless a schema is new: then the transaction that gives it an id does it. */
export interface Prepared {
  readonly entry: TopicEntry
  readonly count: number
  readonly parts: {
    partition: number
    messages: readonly Message[]
    places: readonly number[] | undefined
    chunks: Chunk[] | undefined
  }[]
}

export class Appender {
  readonly #store: Store
  readonly #topics: Topics
  #keyless = 0

  constructor(store: Store, topics: Topics) {
    this.#store = store
    this.#topics = topics
  }

  /** Throws what is wrong with them: NOT_FOUND, DENIED, INVALID, TOO_LARGE. */
  prepare(topic: Topic, messages: readonly Message[], { partition }: AppendOptions = {}): Prepared {
    const entry = this.#topics.resolve(topic)
    if (partition !== undefined) checkPartition(entry, partition)
    let known = true
    for (const message of messages) {
      check(message)
      if (message.schema && this.#store.schemaId(message.schema) === undefined) known = false
    }
    const { partitions } = entry.spec
    const parts: Prepared['parts'] = []
    if (partition !== undefined || partitions === 1) {
      parts.push({ partition: partition ?? 0, messages, places: undefined, chunks: undefined })
    } else {
      const groups = new Map<number, { messages: Message[]; places: number[] }>()
      messages.forEach((message, place) => {
        const target = message.key
          ? partitionOf(message.key, partitions)
          : Math.floor(this.#keyless++ / STICKY) % partitions
        const group = groups.get(target)
        if (group) {
          group.messages.push(message)
          group.places.push(place)
        } else groups.set(target, { messages: [message], places: [place] })
      })
      for (const [target, group] of groups) parts.push({ partition: target, ...group, chunks: undefined })
    }
    if (known) for (const part of parts) part.chunks = encode(part.messages, this.#knownId)
    return { entry, count: messages.length, parts }
  }

  #knownId = (ref: SchemaRef | undefined): number => (ref === undefined ? 0 : (this.#store.schemaId(ref) as number))

  /** The first offset of each part. */
  apply(transaction: WriteTransaction, { entry, parts }: Prepared): number[] {
    return parts.map(({ partition, messages, chunks }) => {
      let first: number | undefined
      for (const chunk of chunks ?? encode(messages, transaction.schemaId)) {
        const base = transaction.append(entry.id, partition, chunk)
        first ??= base
      }
      return first ?? 0
    })
  }
}
