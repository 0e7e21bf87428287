import {
  describeGroupsV5,
  heartbeatV4,
  joinGroupV7,
  leaveGroupV4,
  listGroupsV4,
  offsetCommitV8,
  offsetFetchV8,
  syncGroupV5,
} from '@platformatic/kafka'
import type { GroupOffsets, Lane } from '../driver.ts'
import { type Ask, buffer, check, failed, grouped } from './asking.ts'

type Groups =
  | 'joinGroup'
  | 'syncGroup'
  | 'heartbeat'
  | 'leaveGroup'
  | 'fetchOffsets'
  | 'commitOffsets'
  | 'listGroups'
  | 'describeGroups'

/** Membership, and where groups are. */
export const groups = (ask: Ask): Pick<Lane, Groups> => ({
  async joinGroup(coordinator, { group, member, sessionMs, rebalanceMs, protocol, metadata }) {
    const join = (id: string) =>
      ask(coordinator, joinGroupV7.api, group, sessionMs, rebalanceMs, id, null, 'consumer', [
        { name: protocol, metadata: buffer(metadata) },
      ])
    let answer = await join(member)
    // MEMBER_ID_REQUIRED: the broker tells a new member its id first.
    if (answer.errorCode === 79) answer = await join(answer.memberId)
    check(answer.errorCode, `joining group "${group}"`)
    return {
      member: answer.memberId,
      generation: answer.generationId,
      leader: answer.leader,
      members: answer.members.map(({ memberId, metadata: own }) => ({ id: memberId, metadata: own })),
    }
  },
  async syncGroup(coordinator, { group, id, generation }, protocol, assignments) {
    const all = [...assignments].map(([memberId, assignment]) => ({ memberId, assignment: buffer(assignment) }))
    const answer = await ask(coordinator, syncGroupV5.api, group, generation, id, null, 'consumer', protocol, all)
    check(answer.errorCode, `synchronizing with group "${group}"`)
    return answer.assignment
  },
  async heartbeat(coordinator, { group, id, generation }) {
    const { errorCode } = await ask(coordinator, heartbeatV4.api, group, generation, id, null)
    check(errorCode, `staying in group "${group}"`)
  },
  async leaveGroup(coordinator, { group, id }) {
    const answer = await ask(coordinator, leaveGroupV4.api, group, [{ memberId: id }])
    check(answer.errorCode || (answer.members[0]?.errorCode ?? 0), `leaving group "${group}"`)
  },
  async fetchOffsets(coordinator, groups, stable) {
    const asked = groups.map(({ group, places }) => ({
      groupId: group,
      memberEpoch: -1,
      topics: places
        ? grouped(places, ({ partition }) => partition).map(([name, partitionIndexes]) => ({
            name,
            partitionIndexes,
          }))
        : null,
    }))
    const answer = await ask(coordinator, offsetFetchV8.api, asked, stable)
    return answer.groups.map(
      ({ groupId, topics, errorCode }): GroupOffsets => ({
        group: groupId,
        offsets: topics.flatMap(({ name, partitions }) =>
          partitions.map(each => ({
            topic: name,
            partition: each.partitionIndex,
            offset: each.committedOffset,
            metadata: each.metadata ?? '',
            ...failed(each.errorCode),
          })),
        ),
        ...failed(errorCode),
      }),
    )
  },
  async commitOffsets(coordinator, { group, id, generation }, offsets) {
    const answer = await ask(coordinator, offsetCommitV8.api, group, generation, id, null, committing(offsets))
    return outcomes(answer.topics)
  },
  async listGroups(broker) {
    const answer = await ask(broker, listGroupsV4.api, [], [])
    check(answer.errorCode, 'listing groups')
    return answer.groups.map(({ groupId, protocolType }) => ({ group: groupId, protocolType }))
  },
  async describeGroups(coordinator, groups) {
    const answer = await ask(coordinator, describeGroupsV5.api, [...groups], false)
    return answer.groups.map(each => ({
      group: each.groupId,
      state: each.groupState,
      members: each.members.map(({ memberId, clientId, memberAssignment }) => ({
        id: memberId,
        clientId,
        assignment: memberAssignment,
      })),
      ...failed(each.errorCode),
    }))
  },
})

export const committing = (offsets: Parameters<Lane['commitOffsets']>[2]) =>
  grouped(offsets, ({ partition, offset, metadata }) => ({
    partitionIndex: partition,
    committedOffset: offset,
    committedLeaderEpoch: -1,
    committedMetadata: metadata,
  })).map(([name, partitions]) => ({ name, partitions }))

export const outcomes = (
  topics: readonly { name: string; partitions: readonly { partitionIndex: number; errorCode: number }[] }[],
) =>
  topics.flatMap(({ name, partitions }) =>
    partitions.map(each => ({ topic: name, partition: each.partitionIndex, ...failed(each.errorCode) })),
  )
