import type { Fetched, FetchedBatch } from './driver.ts'

export interface Committed {
  readonly batches: readonly FetchedBatch[]
  /** Where reading goes on: behind markers and what was taken back too, which nobody ever sees. */
  readonly next: bigint
}

/**
 * What those see who read committed. A broker sends what was taken back too, and tells which producers' transactions that
 * are and where each began; the producer's next abort marker ends one.
 */
export function committed({ batches, aborted }: Pick<Fetched, 'batches' | 'aborted'>, from: bigint): Committed {
  const coming = aborted.toSorted((a, b) => (a.first < b.first ? -1 : 1))
  const open = new Set<bigint>()
  const seen: FetchedBatch[] = []
  let next = from
  for (const batch of batches) {
    while (coming[0] && coming[0].first <= batch.last) open.add((coming.shift() as (typeof coming)[number]).producer)
    next = batch.last + 1n
    if (batch.control) {
      if (batch.control === 'abort') open.delete(batch.producer)
    } else if (!(batch.transactional && open.has(batch.producer))) seen.push(batch)
  }
  return { batches: seen, next: next > from ? next : from }
}
