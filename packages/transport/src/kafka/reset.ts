import { checkGroup, checkIdle, noPosition } from '../checks.ts'
import type { From, Reset, ResetOptions } from '../transport.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { type Committing, KafkaError } from './driver.ts'
import { changelogOf } from './names.ts'
import { positionsOf } from './positions.ts'
import { TransactionalProducer } from './producer.ts'
import { checkPartition, partitionsOf, startsOf } from './reader.ts'
import { positionAt } from './record.ts'
import type { TopicEntry } from './topics.ts'

/** See Admin.reset. `own`: the group's name among all tenants'. */
export async function reset(
  cluster: Cluster,
  entry: TopicEntry,
  group: string,
  own: string,
  to: From,
  { partitions = partitionsOf(entry), dryRun = false }: ResetOptions = {},
): Promise<Reset> {
  checkGroup(group)
  for (const partition of partitions) checkPartition(entry, partition)
  const members = await cluster.coordinated('group', own, async coordinator => {
    const [found] = await cluster.control.describeGroups(coordinator, [own])
    if (found?.error !== undefined) throw new KafkaError(found.error, `asking for group "${group}": ${found.error}`)
    return found?.members ?? []
  })
  checkIdle(
    group,
    members.map(({ clientId }) => clientId),
  )
  const all = partitionsOf(entry).map(partition => ({ topic: entry.name, partition }))
  const places = all.filter(({ partition }) => partitions.includes(partition))
  const before = await positionsOf(cluster, own, all, { stable: false })
  if (before.size === 0) throw noPosition(group, entry.topic)
  const starts = await startsOf(cluster, entry, partitions, to)
  let was = before
  if (!dryRun) {
    const owners = new Set([...before.values()].map(({ metadata }) => metadata.slice(0, metadata.lastIndexOf('#'))))
    // What a killed member left open must not be committed over this, should that member be a frozen one and wake up.
    for (const owner of owners)
      if (owner.startsWith('weft.'))
        await new TransactionalProducer(cluster, owner, { timeoutMs: 10_000, compression: 'none' }).begin()
    was = await positionsOf(cluster, own, all)
    const offsets = partitions.map((partition, i) => ({
      topic: entry.name,
      partition,
      offset: starts[i] as bigint,
      metadata: '',
    }))
    await commit(cluster, group, own, offsets)
  }
  return {
    moved: places.map(place => {
      const old = was.get(nameOf(place))?.offset
      const offset = starts[partitions.indexOf(place.partition)] as bigint
      return {
        was: old === undefined ? undefined : positionAt(place.partition, old - 1n),
        now: positionAt(place.partition, offset - 1n),
      }
    }),
    stateful: (await cluster.partitions(changelogOf(own))) !== undefined,
  }
}

/** Speaks for the group without being a member, which Kafka allows while nobody is. */
async function commit(cluster: Cluster, group: string, own: string, offsets: readonly Committing[]): Promise<void> {
  const nobody = { group: own, id: '', generation: -1 }
  await cluster.coordinated('group', own, async coordinator => {
    const outcomes = await cluster.control.commitOffsets(coordinator, nobody, offsets)
    const failure = outcomes.find(({ error }) => error !== undefined)?.error
    if (failure === 'UNKNOWN_MEMBER_ID') checkIdle(group, ['a member that joined just now'])
    if (failure !== undefined) throw new KafkaError(failure, `moving group "${group}": ${failure}`)
  })
}
