import { setTimeout as sleep } from 'node:timers/promises'
import type { From } from '../transport.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { KafkaError, type Place } from './driver.ts'
import { weftError } from './errors.ts'
import { partitionsOf, startsOf } from './reader.ts'
import type { TopicEntry } from './topics.ts'

export interface GroupPosition {
  readonly offset: bigint
  /** What the last one who committed here said of itself. */
  readonly metadata: string
}

/** Where a group is in some places; nothing for those where it never was. `stable`: waits for transactions that are ending. */
export async function positionsOf(
  cluster: Cluster,
  group: string,
  places: readonly Place[],
  { stable = true, signal }: { readonly stable?: boolean; readonly signal?: AbortSignal } = {},
): Promise<Map<string, GroupPosition>> {
  const [found] = await cluster.coordinated(
    'group',
    group,
    async coordinator => {
      const groups = await cluster.control.fetchOffsets(coordinator, [{ group, places }], stable)
      const failure = groups[0]?.error ?? groups[0]?.offsets.find(({ error }) => error !== undefined)?.error
      if (failure !== undefined) throw new KafkaError(failure, `asking where group "${group}" is: ${failure}`)
      return groups
    },
    signal ? { signal } : {},
  )
  return new Map(
    found?.offsets
      .filter(({ offset }) => offset >= 0n)
      .map(({ offset, metadata, ...place }) => [nameOf(place), { offset, metadata }]),
  )
}

/**
 * Resolves when the group has a position in each partition of the topics: whichever member a partition comes to places
 * it there. Throws at once what makes it impossible to start from there.
 */
export async function placed(
  cluster: Cluster,
  group: string,
  entries: readonly TopicEntry[],
  from: From,
): Promise<{ readonly complete: boolean; readonly wait: (done: Promise<void>) => Promise<void> }> {
  const places = entries.flatMap(entry => partitionsOf(entry).map(partition => ({ topic: entry.name, partition })))
  const complete = async () => (await positionsOf(cluster, group, places, { stable: false })).size === places.length
  const already = await complete()
  if (!already) for (const entry of entries) await startsOf(cluster, entry, partitionsOf(entry), from)
  return {
    complete: already,
    async wait(done) {
      let failure: unknown
      let failed = false
      done.then(
        () => {
          failed = true
        },
        error => {
          failure = error
          failed = true
        },
      )
      while (!already && !(await complete())) {
        if (failed) throw failure ?? weftError(new KafkaError('UNKNOWN_MEMBER_ID', `group "${group}" was left`))
        await sleep(20)
      }
    },
  }
}
