import { titleOf } from '../checks.ts'
import { partitionOf } from '../partitioner.ts'
import type { SchemaIds } from '../schema-ids.ts'
import { type AppendOptions, type Message, WeftError } from '../transport.ts'
import type { KafkaRecord, Place } from './driver.ts'
import { recordOf } from './record.ts'
import type { TopicEntry } from './topics.ts'

/** Bytes of one partition in a request, about: Kafka's own default for a topic is little more. One larger message goes alone. */
export const BATCH_BYTES = 900_000
/** What Kafka writes around a record, about. */
const OVERHEAD = 48

export interface Part extends Place {
  readonly records: readonly KafkaRecord[]
  /** Where each of them stood among the messages. */
  readonly places: readonly number[]
  readonly bytes: number
}

let keyless = 0

/** Messages by partition. TOO_LARGE or INVALID if one cannot be appended, and then none is. */
export function partsOf(
  { topic, name, partitions }: TopicEntry,
  messages: readonly Message[],
  { partition, ...how }: AppendOptions & { readonly maxBytes?: number; readonly ids?: SchemaIds | undefined } = {},
): Part[] {
  const title = titleOf(topic)
  if (partition !== undefined && !(Number.isInteger(partition) && partition >= 0 && partition < partitions))
    throw new WeftError('INVALID', `"${title}" has partitions 0 to ${partitions - 1}, not ${partition}`)
  const parts = new Map<number, { records: KafkaRecord[]; places: number[]; bytes: number }>()
  const sticky = keyless++ % partitions
  messages.forEach((message, place) => {
    const { record, bytes } = recordOf(message, title, how)
    const to = partition ?? (message.key === undefined ? sticky : partitionOf(message.key, partitions))
    let part = parts.get(to)
    if (!part) {
      part = { records: [], places: [], bytes: 0 }
      parts.set(to, part)
    }
    part.records.push(record)
    part.places.push(place)
    part.bytes += bytes + OVERHEAD
  })
  return [...parts].map(([to, part]) => ({ topic: name, partition: to, ...part }))
}

/** Records in pieces that each fit into a batch. */
export function* pieces(records: readonly KafkaRecord[], most = BATCH_BYTES): Generator<readonly KafkaRecord[]> {
  let [start, size] = [0, 0]
  for (const [i, { key, value, headers }] of records.entries()) {
    const bytes = headers.reduce(
      (sum, [n, v]) => sum + n.length + v.length,
      OVERHEAD + (key?.length ?? 0) + (value?.length ?? 0),
    )
    if (size > 0 && size + bytes > most) {
      yield records.slice(start, i)
      ;[start, size] = [i, 0]
    }
    size += bytes
  }
  if (start < records.length) yield records.slice(start)
}
