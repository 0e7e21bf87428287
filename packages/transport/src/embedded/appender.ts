import { partitionOf } from '../partitioner.ts'
import type { AppendOptions, Message, Topic } from '../transport.ts'
import { type Chunk, check, encode } from './batch.ts'
import type { WriteTransaction } from './committer.ts'
import { checkPartition } from './reader.ts'
import type { Store } from './store.ts'
import type { TopicEntry, Topics } from './topics.ts'

/** Keyless messages go to one partition this many at a time. */
const STICKY = 64

/** Messages that were checked and encoded, by partition. */
export interface Prepared {
  readonly entry: TopicEntry
  readonly bytes: number
  readonly parts: readonly Part[]
}

interface Part {
  readonly partition: number
  readonly count: number
  /** Where in the order given the part's messages stand; undefined if they are all. */
  readonly places: readonly number[] | undefined
  readonly chunks: readonly Chunk[]
}

export class Appender {
  readonly #store: Store
  readonly #topics: Topics
  readonly #maxBytes: number
  #keyless = 0

  /** `maxBytes`: what the logs of the store may hold together. */
  constructor(store: Store, topics: Topics, maxBytes: number) {
    this.#store = store
    this.#topics = topics
    this.#maxBytes = maxBytes
  }

  /** Throws what is wrong with them: NOT_FOUND, DENIED, INVALID, TOO_LARGE. Nothing given is referred to afterwards. */
  prepare(
    topic: Topic,
    messages: readonly Message[],
    { partition, maxBytes }: AppendOptions & { readonly maxBytes?: number } = {},
  ): Prepared {
    const entry = this.#topics.resolve(topic)
    if (partition !== undefined) checkPartition(entry, partition)
    for (const message of messages) check(message, maxBytes)
    const { partitions } = entry.spec
    if (partition !== undefined || partitions === 1)
      return prepared(entry, [this.#part(partition ?? 0, messages, undefined)])
    const groups = new Map<number, { messages: Message[]; places: number[] }>()
    messages.forEach((message, place) => {
      const target = message.key ? partitionOf(message.key, partitions) : this.#next(partitions)
      const group = groups.get(target)
      if (group) {
        group.messages.push(message)
        group.places.push(place)
      } else groups.set(target, { messages: [message], places: [place] })
    })
    return prepared(
      entry,
      [...groups].map(([target, group]) => this.#part(target, group.messages, group.places)),
    )
  }

  #next(partitions: number): number {
    return Math.floor(this.#keyless++ / STICKY) % partitions
  }

  #part(partition: number, messages: readonly Message[], places: readonly number[] | undefined): Part {
    return { partition, places, count: messages.length, chunks: encode(messages, this.#store.schemaId) }
  }

  /** Appends them on their own; resolves with what `apply` returns. */
  append(prepared: Prepared): Promise<number[]> {
    return this.#store.committer.commit(transaction => {
      this.reserve(transaction, [prepared])
      return this.apply(transaction, prepared)
    })
  }

  /** To be called before anything of it is applied. UNAVAILABLE if the store has no room for it. */
  reserve(transaction: WriteTransaction, all: readonly Prepared[]): void {
    transaction.reserve(
      all.reduce((sum, { bytes }) => sum + bytes, 0),
      this.#maxBytes,
    )
  }

  /** The first offset of each part; room for it was reserved. */
  apply(transaction: WriteTransaction, { entry, parts }: Prepared): number[] {
    return parts.map(({ partition, chunks }) => {
      let first: number | undefined
      for (const chunk of chunks) {
        for (const { at, ref } of chunk.missing) chunk.bytes.writeUInt32LE(transaction.schemaId(ref), at)
        const base = transaction.append(entry.id, partition, chunk)
        first ??= base
      }
      return first ?? 0
    })
  }
}

function prepared(entry: TopicEntry, parts: readonly Part[]): Prepared {
  const bytes = parts.reduce((sum, { chunks }) => chunks.reduce((size, chunk) => size + chunk.bytes.length, sum), 0)
  return { entry, parts, bytes }
}
