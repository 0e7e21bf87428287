import { BATCH_HEADER, keyOf, readHeader, spans, writeHeader } from './batch.ts'
import { KEY, logKey, offsetOf } from './keys.ts'
import type { Store } from './store.ts'

/** Kept in the store, per partition. */
interface Cleaned {
  /** Everything before this offset was compacted. */
  readonly to: number
  /** Records left when it was. */
  readonly kept: number
  /** When the oldest tombstone that is still there was appended; undefined if there is none. */
  readonly tombstone?: number
}

/** So many keys are looked after in one pass, so that memory stays bounded; the rest has its turn in the next. */
const KEYS = 1_000_000
const STEP_BYTES = 512 * 1024
const LEAST_DIRTY = 1000

/** Whether compaction is worth its while: as much came as was left the last time, or a tombstone may go. */
export function isDirty(store: Store, topic: number, partition: number, tombstoneMs: number, asked: boolean): boolean {
  const { to, kept, tombstone } = store.json<Cleaned>(KEY.cleaned(topic, partition)) ?? { to: 0, kept: 0 }
  if (tombstone !== undefined && tombstone < Date.now() - tombstoneMs) return true
  const dirty = store.ends(topic, partition).next - to
  return asked ? dirty > 0 : dirty >= Math.max(LEAST_DIRTY, kept)
}

/**
 * Keeps the last record of each key. Offsets never change: what goes leaves holes. First it learns the last offset of
 * each key that came since the last time, then it rewrites the batches from the start, a few in each transaction.
 */
export async function compact(
  store: Store,
  topic: number,
  partition: number,
  tombstoneMs: number,
  stop: AbortSignal,
): Promise<{ records: number; bytes: number }> {
  const total = { records: 0, bytes: 0 }
  const { first, next } = store.ends(topic, partition)
  const clean = store.json<Cleaned>(KEY.cleaned(topic, partition))?.to ?? 0
  const latest = new Map<string, number>()
  const to = await learn(store, topic, partition, clean, next, latest, stop)
  let kept = 0
  let tombstone: number | undefined
  for (let from = first; from < to && !stop.aborted; ) {
    const step = await store.committer.commit(transaction => {
      let [records, removed, bytes, size, left] = [0, 0, 0, 0, from]
      let oldest: number | undefined
      const range = { start: logKey(topic, partition, from), end: logKey(topic, partition, to) }
      for (const { key, value } of [...take(store.log.getRange(range), STEP_BYTES)]) {
        const base = offsetOf(key)
        const { count, span, appendedAt } = readHeader(value)
        left = base + span
        size += value.length
        const survivors = remaining(value, base, latest, appendedAt < Date.now() - tombstoneMs)
        if (survivors.some(each => each.tombstone)) oldest ??= appendedAt
        records += survivors.length
        if (survivors.length === count) continue
        removed += count - survivors.length
        bytes += value.length
        if (survivors.length === 0) transaction.removeBatch(topic, partition, base)
        else {
          const rewritten = rewrite(value, base, survivors, span, appendedAt)
          bytes -= rewritten.length
          transaction.putBatch(topic, partition, base, rewritten)
        }
      }
      if (removed > 0) transaction.shrink(topic, partition, bytes)
      return { next: size === 0 ? to : left, records, removed, bytes, oldest }
    })
    from = step.next
    kept += step.records
    tombstone ??= step.oldest
    total.records += step.removed
    total.bytes += step.bytes
  }
  if (!stop.aborted)
    await store.committer.commit(transaction =>
      transaction.putJson(KEY.cleaned(topic, partition), {
        to,
        kept,
        ...(tombstone === undefined ? {} : { tombstone }),
      } satisfies Cleaned),
    )
  return total
}

/** Fills in the last offset of each key from `from` on; returns where it stopped. */
async function learn(
  store: Store,
  topic: number,
  partition: number,
  from: number,
  end: number,
  latest: Map<string, number>,
  stop: AbortSignal,
): Promise<number> {
  let at = from
  while (at < end && latest.size < KEYS && !stop.aborted) {
    let size = 0
    const start = store.batchAt(topic, partition, at)?.base ?? end
    const range = { start: logKey(topic, partition, start), end: logKey(topic, partition, end) }
    for (const { key, value } of take(store.log.getRange(range), STEP_BYTES)) {
      const base = offsetOf(key)
      for (const span of spans(value, base)) {
        const name = nameOf(value, span.start)
        if (name !== undefined) latest.set(name, span.offset)
      }
      at = base + value.readUInt32LE(8)
      size += value.length
    }
    if (size === 0) return end
    await new Promise(setImmediate)
  }
  return at
}

function* take<T extends { value: Buffer }>(entries: Iterable<T>, most: number): Generator<T> {
  let size = 0
  for (const entry of entries) {
    yield entry
    size += entry.value.length
    if (size >= most) return
  }
}

interface Survivor {
  readonly offset: number
  readonly start: number
  readonly end: number
  readonly tombstone: boolean
}

function remaining(bytes: Buffer, base: number, latest: ReadonlyMap<string, number>, old: boolean): Survivor[] {
  const left: Survivor[] = []
  for (const span of spans(bytes, base)) {
    const name = nameOf(bytes, span.start)
    if (name !== undefined && (latest.get(name) ?? span.offset) > span.offset) continue
    const { tombstone } = keyOf(bytes, span.start)
    if (name !== undefined && tombstone && old) continue
    left.push({ ...span, tombstone: tombstone && name !== undefined })
  }
  return left
}

function nameOf(bytes: Buffer, start: number): string | undefined {
  const { key } = keyOf(bytes, start)
  return key && Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

function rewrite(
  bytes: Buffer,
  base: number,
  survivors: readonly Survivor[],
  span: number,
  appendedAt: number,
): Buffer {
  const size = survivors.reduce((sum, { start, end }) => sum + 4 + end - start, BATCH_HEADER)
  const rewritten = Buffer.allocUnsafeSlow(size)
  writeHeader(rewritten, survivors.length, span, appendedAt, true)
  let at = BATCH_HEADER
  for (const { offset, start, end } of survivors) {
    rewritten.writeUInt32LE(offset - base, at)
    bytes.copy(rewritten, at + 4, start, end)
    at += 4 + end - start
  }
  return rewritten
}
