import { titleOf } from '../checks.ts'
import { type From, type Position, type ReadOptions, type Received, type Topic, WeftError } from '../transport.ts'
import { decode } from './batch.ts'
import { logKey } from './keys.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'
import { partitionKey } from './watch.ts'

/** The place of an offset; offsets count from 0, so what lies before the first record is -1. */
export const positionAt = (partition: number, offset: number): Position => ({ partition, at: String(offset) })

/** INVALID unless it is a position of this transport. */
export function offsetAt({ at }: Position): number {
  const offset = Number(at)
  if (!Number.isSafeInteger(offset) || offset < -1 || at === '')
    throw new WeftError('INVALID', `"${at}" is not a position of an embedded store: expected a whole number as text`)
  return offset
}

/** The records of one partition from an offset on, up to `maxBytes` and `maxCount`; undefined at the end of the log. */
export function fetch(
  store: Store,
  entry: TopicEntry,
  topic: Topic,
  partition: number,
  offset: number,
  { maxBytes = 256 * 1024, maxCount = Number.POSITIVE_INFINITY } = {},
): { messages: Received[]; next: number } | undefined {
  const { next: end } = store.ends(entry.id, partition)
  let messages: Received[] = []
  let next = offset
  for (let size = 0; next < end && size < maxBytes && messages.length < maxCount; ) {
    const batch = store.batchAt(entry.id, partition, next)
    if (!batch) {
      next = end
      break
    }
    const found = decode(batch.bytes, batch.base, next, topic, partition, store.schema)
    messages = messages.length === 0 ? found : messages.concat(found)
    size += batch.bytes.length
    next = batch.base + batch.bytes.readUInt32LE(8)
  }
  if (messages.length > maxCount) {
    messages.length = maxCount
    next = Number((messages[maxCount - 1] as Received).position.at) + 1
  }
  return next > offset ? { messages, next } : undefined
}

/** The first offset to read in a partition. POSITION_GONE if what comes after the asked position was removed or is unknown. */
export function startOf(store: Store, entry: TopicEntry, partition: number, from: From): number {
  const { first, next } = store.ends(entry.id, partition)
  if (from === 'earliest') return first
  if (from === 'latest') return next
  if ('time' in from) return offsetSince(store, entry.id, partition, from.time)
  const asked = from.after.find(position => position.partition === partition)
  if (!asked) return first
  const offset = offsetAt(asked) + 1
  if (offset < first || offset > next)
    throw new WeftError(
      'POSITION_GONE',
      `position ${asked.at} of "${titleOf(entry.spec.topic)}"/${partition} is gone: it holds ${first} to ${next - 1}`,
    )
  return offset
}

/** The first offset whose record the log took at or after `time`: batches are in the order of `appendedAt`. */
function offsetSince(store: Store, topic: number, partition: number, time: number): number {
  const { first, next } = store.ends(topic, partition)
  let low = first
  let high = next
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const batch = store.batchAt(topic, partition, middle)
    if (!batch || batch.bytes.readDoubleLE(12) >= time) high = middle
    else low = Math.max(middle + 1, batch.base + batch.bytes.readUInt32LE(8))
  }
  return Math.min(low, next)
}

/** Milliseconds since the epoch at which the log took the record at or after `offset`; undefined if there is none. */
export function appendedAt(store: Store, topic: number, partition: number, offset: number): number | undefined {
  const exact = store.log.getBinaryFast(logKey(topic, partition, offset))
  return exact ? exact.readDoubleLE(12) : store.batchAt(topic, partition, offset)?.bytes.readDoubleLE(12)
}

/** See Transport.read. Where it starts is settled when it is called. */
export function read(
  store: Store,
  entry: TopicEntry,
  topic: Topic,
  { from, partitions, to, signal, maxBytes }: ReadOptions,
  closed: AbortSignal,
): AsyncIterable<readonly Received[]> {
  for (const { partition } of to ?? []) checkPartition(entry, partition)
  const lasts = to && new Map(to.map(position => [position.partition, offsetAt(position)]))
  const all = partitions ?? Array.from({ length: entry.spec.partitions }, (_, i) => i)
  const asked = all.filter(partition => !lasts || lasts.has(partition))
  for (const partition of asked) checkPartition(entry, partition)
  if (typeof from === 'object' && 'after' in from)
    for (const { partition } of from.after) checkPartition(entry, partition)
  const offsets = new Map(asked.map(partition => [partition, startOf(store, entry, partition, from)]))
  const stop = signal ? AbortSignal.any([signal, closed]) : closed
  return tail(store, entry, topic, offsets, lasts, maxBytes, stop, closed)
}

async function* tail(
  store: Store,
  entry: TopicEntry,
  topic: Topic,
  offsets: Map<number, number>,
  lasts: ReadonlyMap<number, number> | undefined,
  maxBytes: number | undefined,
  stop: AbortSignal,
  closed: AbortSignal,
): AsyncGenerator<readonly Received[]> {
  const keys = [...offsets.keys()].map(partition => partitionKey(entry.id, partition))
  const lastOf = (partition: number) => lasts?.get(partition) ?? Number.POSITIVE_INFINITY
  for (const [partition, offset] of offsets) if (offset > lastOf(partition)) offsets.delete(partition)
  while (!stop.aborted && offsets.size > 0) {
    let found = false
    for (const [partition, offset] of offsets) {
      if (stop.aborted) break
      const last = lastOf(partition)
      const { first } = store.ends(entry.id, partition)
      if (offset < first)
        throw new WeftError(
          'POSITION_GONE',
          `"${titleOf(topic)}"/${partition} was cut to ${first} before ${offset} was read`,
        )
      const batch = fetch(store, entry, topic, partition, offset, { maxBytes })
      if (!batch) continue
      found = true
      const isOver = batch.next > last
      if (isOver) offsets.delete(partition)
      else offsets.set(partition, batch.next)
      const messages = isOver ? batch.messages.filter(({ position }) => offsetAt(position) <= last) : batch.messages
      if (messages.length > 0) yield messages
    }
    if (!found) await store.watch.next(keys, stop)
  }
  if (closed.aborted) throw new WeftError('CLOSED', 'the transport was closed')
}

export function checkPartition(entry: TopicEntry, partition: number): void {
  const { topic, partitions } = entry.spec
  if (!Number.isInteger(partition) || partition < 0 || partition >= partitions)
    throw new WeftError('INVALID', `"${titleOf(topic)}" has partitions 0 to ${partitions - 1}, not ${partition}`)
}
