import type { GroupLag } from '../transport.ts'
import { decodeAssignment } from './assignment.ts'
import { type Cluster, nameOf } from './cluster.ts'
import type { Broker, GroupDescription, GroupOffsets } from './driver.ts'
import { persist } from './errors.ts'
import { ownOfName } from './names.ts'
import type { TopicEntry } from './topics.ts'

/** How far each group that has a position is behind, in each partition of the topics given. */
export async function groupLags(cluster: Cluster, topics: ReadonlyMap<string, TopicEntry>): Promise<GroupLag[]> {
  const { offsets, described } = await persist(() => inspect(cluster), { forMs: cluster.patienceMs })
  const placed = offsets.flatMap(({ group, offsets: some }) =>
    some
      .filter(({ topic, offset, partition }) => offset >= 0n && partition < (topics.get(topic)?.partitions ?? 0))
      .map(place => ({ group, ...place })),
  )
  const unique = [...new Map(placed.map(place => [nameOf(place), place])).values()]
  const at = (time: bigint) => cluster.offsets(unique.map(({ topic, partition }) => ({ topic, partition, time })))
  const [ends, firsts] = await Promise.all([at(-1n), at(-2n)])
  const members = new Map(
    described.flatMap(({ group, members: all }) =>
      all.flatMap(({ clientId, assignment }) =>
        decodeAssignment(assignment).flatMap(({ topic, partitions }) =>
          partitions.map(partition => [`${group} ${nameOf({ topic, partition })}`, clientId] as const),
        ),
      ),
    ),
  )
  return placed.map(({ group, topic, partition, offset }) => {
    const name = nameOf({ topic, partition })
    const first = firsts.get(name) ?? 0n
    const lag = (ends.get(name) ?? 0n) - (offset > first ? offset : first)
    const member = members.get(`${group} ${name}`)
    return {
      group: ownOfName(group),
      topic: (topics.get(topic) as TopicEntry).topic,
      partition,
      lag: lag > 0n ? Number(lag) : 0,
      ...(member === undefined ? {} : { member }),
    }
  })
}

async function inspect(cluster: Cluster): Promise<{ offsets: GroupOffsets[]; described: GroupDescription[] }> {
  const inspectOne = async (broker: Broker) => {
    // A broker lists the groups that it coordinates.
    const groups = (await cluster.control.listGroups(broker))
      .filter(({ protocolType }) => protocolType === 'consumer' || protocolType === '')
      .map(({ group }) => group)
    if (groups.length === 0) return { offsets: [], described: [] }
    const [offsets, described] = await Promise.all([
      cluster.control.fetchOffsets(
        broker,
        groups.map(group => ({ group })),
        false,
      ),
      cluster.control.describeGroups(broker, groups),
    ])
    return { offsets, described }
  }
  const found = await Promise.all(cluster.brokers().map(inspectOne))
  return {
    offsets: found.flatMap(({ offsets }) => offsets),
    described: found.flatMap(({ described }) => described),
  }
}
