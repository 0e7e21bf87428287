import { titleOf } from '../checks.ts'
import { type From, type Position, type ReadOptions, type Received, WeftError } from '../transport.ts'
import { Bell } from './bell.ts'
import { type Cluster, nameOf, translated } from './cluster.ts'
import { KafkaError } from './driver.ts'
import { weftError } from './errors.ts'
import { Fetcher, type Tap } from './fetcher.ts'
import { offsetAt } from './record.ts'
import type { TopicEntry } from './topics.ts'

const [END, FIRST] = [-1n, -2n]

export function checkPartition({ topic, partitions }: TopicEntry, partition: number): void {
  if (!Number.isInteger(partition) || partition < 0 || partition >= partitions)
    throw new WeftError('INVALID', `"${titleOf(topic)}" has partitions 0 to ${partitions - 1}, not ${partition}`)
}

export const partitionsOf = ({ partitions }: TopicEntry): number[] => Array.from({ length: partitions }, (_, i) => i)

/** An offset of each of the partitions, in their order. See Lane.listOffsets for `time`. */
export async function offsetsAt(
  cluster: Cluster,
  { name }: TopicEntry,
  partitions: readonly number[],
  time: bigint,
  options: { readonly uncommitted?: boolean } = {},
): Promise<bigint[]> {
  const places = partitions.map(partition => ({ topic: name, partition, time }))
  const found = await cluster.offsets(places, options)
  return places.map(place => found.get(nameOf(place)) ?? -1n)
}

/**
 * The first offset to read in each partition. The end is where those who read committed stand: what an open transaction
 * holds back is yet to come. POSITION_GONE if what comes after an asked position was removed or is unknown.
 */
export async function startsOf(
  cluster: Cluster,
  entry: TopicEntry,
  partitions: readonly number[],
  from: From,
): Promise<bigint[]> {
  if (from === 'earliest') return offsetsAt(cluster, entry, partitions, FIRST)
  if (from === 'latest') return offsetsAt(cluster, entry, partitions, END)
  if ('time' in from) {
    const found = await offsetsAt(cluster, entry, partitions, BigInt(Math.max(0, Math.ceil(from.time))))
    const ends = await offsetsAt(cluster, entry, partitions, END)
    return found.map((offset, i) => (offset < 0n ? (ends[i] as bigint) : offset))
  }
  for (const position of from.after) {
    checkPartition(entry, position.partition)
    offsetAt(position)
  }
  const firsts = await offsetsAt(cluster, entry, partitions, FIRST)
  const ends = await offsetsAt(cluster, entry, partitions, END, { uncommitted: true })
  return partitions.map((partition, i) => {
    const [first, end] = [firsts[i] as bigint, ends[i] as bigint]
    const asked = from.after.find(position => position.partition === partition)
    if (!asked) return first
    const offset = offsetAt(asked) + 1n
    if (offset < first || offset > end)
      throw new WeftError(
        'POSITION_GONE',
        `position ${asked.at} of "${titleOf(entry.topic)}"/${partition} is gone: it holds ${first} to ${end - 1n}`,
      )
    return offset
  })
}

/** See Transport.read. */
export async function* read(
  cluster: Cluster,
  resolve: () => Promise<TopicEntry>,
  { from, partitions, to, signal, maxBytes = 1024 * 1024 }: ReadOptions,
  closed: AbortSignal,
): AsyncGenerator<readonly Received[]> {
  const stop = signal ? AbortSignal.any([signal, closed]) : closed
  const entry = await translated(resolve())
  for (const { partition } of to ?? []) checkPartition(entry, partition)
  const lasts = to && new Map(to.map(position => [position.partition, offsetAt(position)]))
  const asked = (partitions ?? partitionsOf(entry)).filter(partition => !lasts || lasts.has(partition))
  for (const partition of asked) checkPartition(entry, partition)
  const starts = await translated(startsOf(cluster, entry, asked, from))
  await using fetcher = new Fetcher(cluster, maxBytes)
  const bell = new Bell()
  const taps = new Set<Tap>()
  for (const [i, partition] of asked.entries()) {
    const [start, last] = [starts[i] as bigint, lasts?.get(partition)]
    if (last === undefined || start <= last)
      taps.add(fetcher.add({ topic: entry.name, partition }, entry.topic, start, bell))
  }
  const onAbort = () => bell.ring()
  stop.addEventListener('abort', onAbort, { once: true })
  try {
    while (!stop.aborted && taps.size > 0) {
      const { rings } = bell
      let found = false
      for (const tap of taps) {
        const chunk = tap.take()
        if (!chunk) continue
        found = true
        const last = lasts?.get(tap.partition)
        const isOver = last !== undefined && chunk.next > last
        if (isOver) {
          taps.delete(tap)
          fetcher.remove(tap)
        }
        const messages = isOver ? chunk.messages.filter(({ position }) => offsetAt(position) <= last) : chunk.messages
        // Record batches are indivisible on their way here, and may be larger than what was asked for.
        for (const batch of portions(messages, maxBytes)) {
          yield batch
          if (stop.aborted) break
        }
        if (stop.aborted) break
      }
      if (!found) await bell.after(rings)
    }
  } catch (error) {
    if (error instanceof KafkaError && error.code === 'OFFSET_OUT_OF_RANGE')
      throw new WeftError('POSITION_GONE', `"${titleOf(entry.topic)}" was cut before all of it was read`, {
        cause: error,
      })
    throw weftError(error)
  } finally {
    stop.removeEventListener('abort', onAbort)
  }
  if (closed.aborted) throw new WeftError('CLOSED', 'the transport was closed')
}

/** The places before the given offsets: what reading after them begins with. */
export const before = (offsets: readonly bigint[]): Position[] =>
  offsets.map((offset, partition) => ({ partition, at: String(offset - 1n) }))

function* portions(messages: readonly Received[], maxBytes: number): Generator<readonly Received[]> {
  let [start, bytes] = [0, 0]
  for (const [i, { key, value }] of messages.entries()) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0)
    if (bytes < maxBytes) continue
    yield messages.slice(start, i + 1)
    ;[start, bytes] = [i + 1, 0]
  }
  if (start < messages.length) yield messages.slice(start)
}
