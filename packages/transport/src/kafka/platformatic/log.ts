import {
  type Connection,
  crc32c,
  fetchV11,
  fetchV12,
  listOffsetsV3,
  listOffsetsV4,
  listOffsetsV5,
  listOffsetsV6,
  listOffsetsV7,
  produceV7,
  produceV8,
  produceV9,
  type Reader,
  Writer,
} from '@platformatic/kafka'
import { byTopic } from '../by-topic.ts'
import { codecOf } from '../compression.ts'
import type { Fetched, Lane } from '../driver.ts'
import { check, failed } from '../error-names.ts'
import { decodeBatches } from '../fetched-batches.ts'
import { encodeBatch } from '../record-batch.ts'
import { type Ask, api } from './asking.ts'

const [PRODUCE_KEY, FETCH_KEY, ACKS_OF_ALL] = [0, 1, -1]

interface Batches {
  readonly transactionalId: string | undefined
  readonly timeoutMs: number
  readonly topics: [topic: string, parts: { readonly partition: number; readonly bytes: Buffer }[]][]
}
type ProduceAnswer = ReturnType<typeof produceV9.parseResponse>

/** Of batches that are encoded already: the library's own way takes several times as long. */
const produce = (version: number, flexible: boolean, parse: typeof produceV9.parseResponse) => ({
  api: {
    key: PRODUCE_KEY,
    version,
    async: (connection: Connection, { transactionalId, timeoutMs, topics }: Batches) => {
      const payload = Writer.create()
        .appendString(transactionalId, flexible)
        .appendInt16(ACKS_OF_ALL)
        .appendInt32(timeoutMs)
        .appendArray(
          topics,
          (w, [topic, parts]) => {
            w.appendString(topic, flexible).appendArray(
              parts,
              (part, { partition, bytes }) => {
                part.appendInt32(partition)
                if (flexible) part.appendUnsignedVarInt(bytes.length + 1)
                else part.appendInt32(bytes.length)
                part.append(bytes)
              },
              flexible,
              flexible,
            )
          },
          flexible,
          flexible,
        )
      if (flexible) payload.appendTaggedFields()
      return exchange<ProduceAnswer>(connection, PRODUCE_KEY, version, flexible, payload, parse)
    },
  },
})

const PRODUCE = api(
  'Produce',
  produce(9, true, produceV9.parseResponse),
  produce(8, false, produceV8.parseResponse as typeof produceV9.parseResponse),
  produce(7, false, produceV7.parseResponse as typeof produceV9.parseResponse),
)

interface FetchAnswer {
  readonly code: number
  readonly parts: readonly Fetched[]
}

/** The library's own answer makes every record with a reader of its own. */
const fetch = (version: number, flexible: boolean, { createRequest }: Pick<typeof fetchV12, 'createRequest'>) => ({
  api: {
    key: FETCH_KEY,
    version,
    async: (connection: Connection, ...args: Parameters<typeof createRequest>) =>
      exchange<FetchAnswer>(
        connection,
        FETCH_KEY,
        version,
        flexible,
        createRequest(...args),
        (_id, _key, _version, r) => {
          r.readInt32()
          const code = r.readInt16()
          r.readInt32()
          const topics = r.readArray(
            topics => {
              const topic = topics.readString(flexible)
              return topics.readArray(each => fetchedOf(topic, each, flexible), flexible, flexible)
            },
            flexible,
            flexible,
          )
          return { code, parts: topics.flat() }
        },
      ),
  },
})

const FETCH = api('Fetch', fetch(12, true, fetchV12), fetch(11, false, fetchV11))
const LIST_OFFSETS = api('ListOffsets', listOffsetsV7, listOffsetsV6, listOffsetsV5, listOffsetsV4, listOffsetsV3)

function fetchedOf(topic: string, from: Reader, flexible: boolean): Fetched {
  const [partition, code] = [from.readInt32(), from.readInt16()]
  const [end, stable, first] = [from.readInt64(), from.readInt64(), from.readInt64()]
  const aborted = from.readNullableArray(
    each => ({ producer: each.readInt64(), first: each.readInt64() }),
    flexible,
    flexible,
  )
  // The replica that the broker would rather be asked.
  from.readInt32()
  const batches = decodeBatches(from.readNullableBytes(flexible) ?? Buffer.alloc(0))
  return { topic, partition, end, stable, first, aborted: aborted ?? [], batches, ...failed(code) }
}

function exchange<T>(
  connection: Connection,
  key: number,
  version: number,
  flexible: boolean,
  payload: Writer,
  parse: (id: number, key: number, version: number, from: Reader) => T,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const answered = (error: Error | null, answer?: T) => (error ? reject(error) : resolve(answer as T))
  connection.send(key, version, () => payload, parse, flexible, flexible, answered)
  return promise
}

/** What lies in the log, on its way there and back. */
export const log = (ask: Ask): Pick<Lane, 'produce' | 'fetch' | 'listOffsets'> => ({
  async produce(broker, { transactionalId, producer, batches, compression, timeoutMs }) {
    const options = { producer, transactional: transactionalId !== undefined, crc32c, codec: codecOf(compression) }
    const topics = byTopic(batches, ({ partition, sequence, records }) => ({
      partition,
      bytes: encodeBatch(records, { ...options, sequence }),
    }))
    const answer = await ask(broker, PRODUCE, { transactionalId, timeoutMs, topics })
    return answer.responses.flatMap(({ name, partitionResponses }) =>
      partitionResponses.map(each => ({
        topic: name,
        partition: each.index,
        offset: each.baseOffset,
        ...(each.errorMessage ? { message: each.errorMessage } : {}),
        ...failed(each.errorCode),
      })),
    )
  },
  async fetch(broker, { places, maxWaitMs, maxBytes, uncommitted = false }) {
    const topics = byTopic(places, ({ partition, offset, maxBytes: partitionMaxBytes }) => ({
      partition,
      currentLeaderEpoch: -1,
      fetchOffset: offset,
      lastFetchedEpoch: -1,
      partitionMaxBytes,
    })).map(([topicId, partitions]) => ({ topicId, partitions }))
    const { code, parts } = await ask(broker, FETCH, maxWaitMs, 1, maxBytes, uncommitted ? 0 : 1, 0, -1, topics, [], '')
    check(code, 'fetching')
    return parts
  },
  async listOffsets(broker, places, { uncommitted = false } = {}) {
    const topics = byTopic(places, ({ partition, time }) => ({
      partitionIndex: partition,
      currentLeaderEpoch: -1,
      timestamp: time,
    })).map(([name, partitions]) => ({ name, partitions }))
    const answer = await ask(broker, LIST_OFFSETS, -1, uncommitted ? 0 : 1, topics)
    return answer.topics.flatMap(({ name, partitions }) =>
      partitions.map(each => ({
        topic: name,
        partition: each.partitionIndex,
        offset: each.offset,
        ...failed(each.errorCode),
      })),
    )
  },
})
