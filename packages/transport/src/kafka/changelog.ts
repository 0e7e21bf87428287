import { type Cluster, nameOf } from './cluster.ts'
import { committed } from './committed.ts'
import { type Fetched, type FetchedBatch, KafkaError, type KafkaRecord, type Place } from './driver.ts'
import { persist } from './errors.ts'
import type { Changes, PartitionState } from './local-state.ts'

/** A copy that is older may have missed deletions whose tombstones are gone by now: half of Kafka's delete.retention.ms. */
const FRESH_MS = 12 * 3_600_000
const FETCH_BYTES = 4 * 1024 * 1024

type Records = readonly (KafkaRecord & { readonly offset: bigint })[]

/**
 * The records of a partition from an offset to its present end, as those see them who read committed. Waits for
 * transactions that are ending.
 */
export async function* replay(
  cluster: Cluster,
  topic: string,
  partition: number,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<{ readonly records: Records; readonly next: bigint }> {
  for await (const { fetched, offset } of fetches(cluster, topic, partition, from, signal, false)) {
    const { batches, next } = committed(fetched, offset)
    yield { records: batches.flatMap(batch => batch.records.filter(record => record.offset >= offset)), next }
  }
}

/**
 * The same, but of transactions only those that have ended: nobody's open transaction holds it up. For who knows that
 * what concerns it has ended.
 */
export async function* replayDecided(
  cluster: Cluster,
  topic: string,
  partition: number,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<Records> {
  const open = new Map<bigint, FetchedBatch[]>()
  for await (const { fetched, offset } of fetches(cluster, topic, partition, from, signal, true)) {
    for (const batch of fetched.batches) {
      if (batch.last < offset) continue
      if (batch.control) {
        if (batch.control === 'commit') for (const { records } of open.get(batch.producer) ?? []) yield records
        open.delete(batch.producer)
      } else if (batch.transactional) open.set(batch.producer, [...(open.get(batch.producer) ?? []), batch])
      else yield batch.records
    }
  }
}

async function* fetches(
  cluster: Cluster,
  topic: string,
  partition: number,
  from: bigint,
  signal: AbortSignal,
  uncommitted: boolean,
): AsyncGenerator<{ readonly fetched: Fetched; readonly offset: bigint }> {
  const place = { topic, partition }
  // Behind what is committed may lie what is just being committed: its offsets can be there before its records are.
  const ends = await cluster.offsets([{ ...place, time: -1n }], { uncommitted: true })
  const end = ends.get(nameOf(place)) ?? 0n
  await using lane = cluster.driver.lane()
  for (let offset = from; offset < end && !signal.aborted; ) {
    const asked = offset
    const fetched = await persist(
      async () => {
        const [answer] = await lane.fetch(await cluster.leader(place), {
          places: [{ ...place, offset: asked, maxBytes: FETCH_BYTES }],
          maxWaitMs: 50,
          maxBytes: FETCH_BYTES,
          uncommitted,
        })
        if (answer && answer.error === undefined) return answer
        cluster.forget(topic)
        const error = answer?.error ?? 'NETWORK'
        throw new KafkaError(error, `reading ${nameOf(place)} from ${asked}: ${error}`)
      },
      { forMs: Number.POSITIVE_INFINITY, signal },
    )
    const last = fetched.batches.at(-1)?.last
    if (last === undefined || last < offset) continue
    yield { fetched, offset }
    offset = last + 1n
  }
}

/**
 * Brings a partition's local state to where its changelog is. Returns where to read on; undefined if there is no changelog.
 * `progress` hears how many of the changelog's offsets have been read of how many.
 */
export async function restore(
  cluster: Cluster,
  place: Place,
  state: PartitionState,
  signal: AbortSignal,
  progress: (done: number, of: number) => void = () => {},
): Promise<bigint | undefined> {
  if ((await cluster.partitions(place.topic)) === undefined) {
    if (state.reflected) await state.clear()
    return undefined
  }
  for (;;) {
    const [first, end] = await boundsOf(cluster, place)
    const known = state.reflected
    // Too old, or a copy of what lies there no more.
    if (known && (Date.now() - known.at > FRESH_MS || known.offset < first || known.offset > end)) await state.clear()
    const from = state.reflected?.offset ?? first
    progress(0, Number(end - from))
    if (
      await replayInto(state, replay(cluster, place.topic, place.partition, from, signal), next =>
        progress(Number(next - from), Number(end - from)),
      )
    )
      return state.reflected?.offset ?? from
  }
}

/** False if the state was moved by somebody else, or the log cut, in the meantime. */
async function replayInto(
  state: PartitionState,
  replayed: AsyncIterable<{ readonly records: Records; readonly next: bigint }>,
  progress: (next: bigint) => void,
): Promise<boolean> {
  let at = state.reflected?.offset
  try {
    for await (const { records, next } of replayed) {
      if (!(await state.apply(changesOf(records), next, at))) return false
      at = next
      progress(next)
    }
    return true
  } catch (error) {
    if (error instanceof KafkaError && error.code === 'OFFSET_OUT_OF_RANGE') return false
    throw error
  }
}

/** The first offset of a place, and the one behind its last. */
async function boundsOf(cluster: Cluster, place: Place): Promise<[first: bigint, end: bigint]> {
  const [firsts, ends] = await Promise.all([
    cluster.offsets([{ ...place, time: -2n }]),
    cluster.offsets([{ ...place, time: -1n }], { uncommitted: true }),
  ])
  return [firsts.get(nameOf(place)) ?? 0n, ends.get(nameOf(place)) ?? 0n]
}

export function changesOf(records: readonly KafkaRecord[]): Changes {
  const changes = new Map<string, Uint8Array | undefined>()
  for (const { key, value } of records) if (key) changes.set(Buffer.from(key).toString('latin1'), value ?? undefined)
  return changes
}
