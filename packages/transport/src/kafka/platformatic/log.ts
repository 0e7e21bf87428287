import {
  type Connection,
  compressionsAlgorithms,
  crc32c,
  fetchV12,
  listOffsetsV7,
  produceV9,
  Writer,
} from '@platformatic/kafka'
import type { Fetched, FetchedBatch, Lane } from '../driver.ts'
import { encodeBatch } from '../record-batch.ts'
import { type Ask, check, failed, grouped } from './asking.ts'

/** What lies in the log, on its way there and back. */
export const log = (ask: Ask): Pick<Lane, 'produce' | 'fetch' | 'listOffsets'> => ({
  async produce(broker, { transactionalId, producer, batches, compression, timeoutMs }) {
    const algorithm = compression === 'none' ? undefined : compressionsAlgorithms[compression]
    const encoded = grouped(batches, ({ partition, sequence, records }) => ({
      partition,
      bytes: encodeBatch(records, {
        producer,
        sequence,
        transactional: transactionalId !== undefined,
        crc32c,
        compression: algorithm && { bitmask: algorithm.bitmask, compress: bytes => algorithm.compressSync(bytes) },
      }),
    }))
    const payload = Writer.create()
      .appendString(transactionalId)
      .appendInt16(ACKS_OF_ALL)
      .appendInt32(timeoutMs)
      .appendArray(encoded, (w, [topic, parts]) => {
        w.appendString(topic).appendArray(parts, (part, { partition, bytes }) => {
          part
            .appendInt32(partition)
            .appendUnsignedVarInt(bytes.length + 1)
            .append(bytes)
        })
      })
      .appendTaggedFields()
    const answer = await ask(broker, { async: (connection: Connection) => sendProduce(connection, payload) })
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
    const topics = grouped(places, ({ partition, offset, maxBytes: partitionMaxBytes }) => ({
      partition,
      currentLeaderEpoch: -1,
      fetchOffset: offset,
      lastFetchedEpoch: -1,
      partitionMaxBytes,
    })).map(([topicId, partitions]) => ({ topicId, partitions }))
    const answer = await ask(broker, fetchV12.api, maxWaitMs, 1, maxBytes, uncommitted ? 0 : 1, 0, -1, topics, [], '')
    check(answer.errorCode, 'fetching')
    return answer.responses.flatMap(({ topicId: topic, partitions }) =>
      partitions.map(
        (each): Fetched => ({
          topic,
          partition: each.partitionIndex,
          end: each.highWatermark,
          stable: each.lastStableOffset,
          first: each.logStartOffset,
          aborted: (each.abortedTransactions ?? []).map(({ producerId, firstOffset }) => ({
            producer: producerId,
            first: firstOffset,
          })),
          batches: (each.records ?? []).map(batchOf),
          ...failed(each.errorCode),
        }),
      ),
    )
  },
  async listOffsets(broker, places, { uncommitted = false } = {}) {
    const topics = grouped(places, ({ partition, time }) => ({
      partitionIndex: partition,
      currentLeaderEpoch: -1,
      timestamp: time,
    })).map(([name, partitions]) => ({ name, partitions }))
    const answer = await ask(broker, listOffsetsV7.api, -1, uncommitted ? 0 : 1, topics)
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

type RecordsBatch = NonNullable<
  Awaited<ReturnType<typeof fetchV12.api.async>>['responses'][number]['partitions'][number]['records']
>[number]

const [PRODUCE, ACKS_OF_ALL] = [0, -1]

/** Produce, version 9, of batches that are encoded already: the library's own way takes several times as long. */
function sendProduce(connection: Connection, payload: Writer): Promise<ReturnType<typeof produceV9.parseResponse>> {
  const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof produceV9.parseResponse>>()
  const answered = (error: Error | null, answer: ReturnType<typeof produceV9.parseResponse>) =>
    error ? reject(error) : resolve(answer)
  connection.send(PRODUCE, 9, () => payload, produceV9.parseResponse, true, true, answered as never)
  return promise
}

const [TRANSACTIONAL, CONTROL, LOG_APPEND_TIME] = [0b01_0000, 0b10_0000, 0b1000]

function batchOf({ firstOffset, lastOffsetDelta, attributes, producerId, ...batch }: RecordsBatch): FetchedBatch {
  const marker = attributes & CONTROL ? batch.records[0]?.key : undefined
  return {
    first: firstOffset,
    last: firstOffset + BigInt(lastOffsetDelta),
    producer: producerId,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    ...(attributes & CONTROL ? { control: marker?.readInt16BE(2) === 0 ? 'abort' : 'commit' } : {}),
    ...(attributes & LOG_APPEND_TIME ? { appendedAt: Number(batch.maxTimestamp) } : {}),
    records: batch.records.map(({ key, value, headers, offsetDelta, timestampDelta }) => ({
      key,
      value,
      headers: headers as [Buffer, Buffer][],
      timestamp: batch.firstTimestamp + timestampDelta,
      offset: firstOffset + BigInt(offsetDelta),
    })),
  }
}
