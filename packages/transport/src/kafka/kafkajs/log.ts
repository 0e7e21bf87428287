import { byTopic } from '../by-topic.ts'
import { codecOf } from '../compression.ts'
import type { Fetched, Lane, Place } from '../driver.ts'
import { check, failed } from '../error-names.ts'
import { decodeBatches } from '../fetched-batches.ts'
import { encodeBatch } from '../record-batch.ts'
import { type Ask, api, ownApi } from './asking.ts'
import { crc32c, type Decoder } from './library.ts'

const ACKS_OF_ALL = -1

/** The library's own makes a batch of one of its messages at a time, and takes several times as long. */
const PRODUCE = ownApi({
  name: 'Produce',
  key: 0,
  versions: [7],
  encode(
    to,
    {
      transactionalId,
      timeoutMs,
      batches,
    }: {
      transactionalId: string | null
      timeoutMs: number
      batches: readonly (Place & { bytes: Buffer })[]
    },
  ) {
    to.writeString(transactionalId).writeInt16(ACKS_OF_ALL).writeInt32(timeoutMs)
    const topics = byTopic(batches, batch => batch)
    to.writeInt32(topics.length)
    for (const [topic, parts] of topics) {
      to.writeString(topic).writeInt32(parts.length)
      for (const { partition, bytes } of parts) to.writeInt32(partition).writeBytes(bytes)
    }
  },
  decode: from =>
    from
      .readArray(topics => {
        const topic = topics.readString() ?? ''
        return topics.readArray(each => {
          const [partition, code, offset] = [each.readInt32(), each.readInt16(), each.readInt64()]
          // The time the log took it, and the log's first offset.
          each.offset += 16
          return { topic, partition, offset, ...failed(code) }
        })
      })
      .flat(),
})

interface FetchArguments {
  readonly replicaId: number
  readonly maxWaitTime: number
  readonly minBytes: number
  readonly maxBytes: number
  readonly isolationLevel: 0 | 1
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly partition: number
      readonly fetchOffset: bigint
      readonly maxBytes: number
    }[]
  }[]
}

/** The library's own answer leaves out batches that compaction has emptied, and where markers lie. */
const FETCH = api<FetchArguments, { readonly code: number; readonly parts: readonly Fetched[] }>(
  'Fetch',
  [11],
  from => {
    from.readInt32()
    const code = from.readInt16()
    from.readInt32()
    const parts = from.readArray(topics => {
      const topic = topics.readString() ?? ''
      return topics.readArray(each => fetchedOf(topic, each))
    })
    return { code, parts: parts.flat() }
  },
)

function fetchedOf(topic: string, from: Decoder): Fetched {
  const [partition, code] = [from.readInt32(), from.readInt16()]
  const [end, stable, first] = [from.readInt64(), from.readInt64(), from.readInt64()]
  const aborted = from.readArray(each => ({ producer: each.readInt64(), first: each.readInt64() }))
  // The replica that the broker would rather be asked.
  from.readInt32()
  const batches = decodeBatches(from.readBytes() ?? Buffer.alloc(0))
  return { topic, partition, end, stable, first, aborted, batches, ...failed(code) }
}

const LIST_OFFSETS = api<
  {
    readonly replicaId: number
    readonly isolationLevel: 0 | 1
    readonly topics: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly timestamp: bigint }[]
    }[]
  },
  {
    readonly responses: readonly {
      readonly topic: string
      readonly partitions: readonly {
        readonly partition: number
        readonly errorCode: number
        readonly offset: string
      }[]
    }[]
  }
>('ListOffsets', [2, 3])

/** What lies in the log, on its way there and back. */
export const log = (ask: Ask): Pick<Lane, 'produce' | 'fetch' | 'listOffsets'> => ({
  async produce(broker, { transactionalId, producer, batches, compression, timeoutMs }) {
    const options = { producer, transactional: transactionalId !== undefined, crc32c, codec: codecOf(compression) }
    const encoded = batches.map(({ topic, partition, sequence, records }) => ({
      topic,
      partition,
      bytes: encodeBatch(records, { ...options, sequence }),
    }))
    return ask(broker, PRODUCE, { transactionalId: transactionalId ?? null, timeoutMs, batches: encoded })
  },
  async fetch(broker, { places, maxWaitMs, maxBytes, uncommitted = false }) {
    const topics = byTopic(places, ({ partition, offset, maxBytes }) => ({ partition, fetchOffset: offset, maxBytes }))
    const { code, parts } = await ask(broker, FETCH, {
      replicaId: -1,
      maxWaitTime: maxWaitMs,
      minBytes: 1,
      maxBytes,
      isolationLevel: uncommitted ? 0 : 1,
      topics: topics.map(([topic, partitions]) => ({ topic, partitions })),
    })
    check(code, 'fetching')
    return parts
  },
  async listOffsets(broker, places, { uncommitted = false } = {}) {
    const topics = byTopic(places, ({ partition, time }) => ({ partition, timestamp: time }))
    const { responses } = await ask(broker, LIST_OFFSETS, {
      replicaId: -1,
      isolationLevel: uncommitted ? 0 : 1,
      topics: topics.map(([topic, partitions]) => ({ topic, partitions })),
    })
    return responses.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, errorCode, offset }) => ({
        topic,
        partition,
        offset: BigInt(offset),
        ...failed(errorCode),
      })),
    )
  },
})
