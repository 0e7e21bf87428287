import {
  describeGroupsV3,
  describeGroupsV4,
  describeGroupsV5,
  heartbeatV3,
  heartbeatV4,
  joinGroupV5,
  joinGroupV6,
  joinGroupV7,
  leaveGroupV3,
  leaveGroupV4,
  listGroupsV2,
  listGroupsV3,
  listGroupsV4,
  offsetCommitV7,
  offsetCommitV8,
  offsetFetchV7,
  offsetFetchV8,
  syncGroupV3,
  syncGroupV4,
  syncGroupV5,
} from '@platformatic/kafka'
import { buffer, byTopic } from '../by-topic.ts'
import type { GroupOffsets, Lane } from '../driver.ts'
import { check, errorOf, failed } from '../error-names.ts'
import { type Ask, api } from './asking.ts'

const JOIN_GROUP = api('JoinGroup', joinGroupV7, joinGroupV6, joinGroupV5)
const SYNC_GROUP = api('SyncGroup', syncGroupV5, syncGroupV4, syncGroupV3)
const HEARTBEAT = api('Heartbeat', heartbeatV4, heartbeatV3)
const LEAVE_GROUP = api('LeaveGroup', leaveGroupV4, leaveGroupV3)
const OFFSET_FETCH = api('OffsetFetch', offsetFetchV8, offsetFetchV7)
const OFFSET_COMMIT = api('OffsetCommit', offsetCommitV8, offsetCommitV7)
const LIST_GROUPS = api('ListGroups', listGroupsV4, listGroupsV3, listGroupsV2)
const DESCRIBE_GROUPS = api('DescribeGroups', describeGroupsV5, describeGroupsV4, describeGroupsV3)

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
      ask(coordinator, JOIN_GROUP, group, sessionMs, rebalanceMs, id, null, 'consumer', [
        { name: protocol, metadata: buffer(metadata) },
      ])
    let answer = await join(member)
    // The broker tells a new member its id first.
    if (errorOf(answer.errorCode) === 'MEMBER_ID_REQUIRED') answer = await join(answer.memberId)
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
    const answer = await ask(coordinator, SYNC_GROUP, group, generation, id, null, 'consumer', protocol, all)
    check(answer.errorCode, `synchronizing with group "${group}"`)
    return answer.assignment
  },
  async heartbeat(coordinator, { group, id, generation }) {
    const { errorCode } = await ask(coordinator, HEARTBEAT, group, generation, id, null)
    check(errorCode, `staying in group "${group}"`)
  },
  async leaveGroup(coordinator, { group, id }) {
    const answer = await ask(coordinator, LEAVE_GROUP, group, [{ memberId: id }])
    check(answer.errorCode || (answer.members[0]?.errorCode ?? 0), `leaving group "${group}"`)
  },
  async fetchOffsets(coordinator, groups, stable) {
    return Promise.all(
      groups.map(async ({ group, places }): Promise<GroupOffsets> => {
        const topics = places && byTopic(places, ({ partition }) => partition)
        const asked = {
          groupId: group,
          memberEpoch: -1,
          topics: topics?.map(([name, partitionIndexes]) => ({ name, partitionIndexes })) ?? null,
        }
        const answer = await ask(coordinator, OFFSET_FETCH, [asked], stable)
        // Before version 8 an answer is about one group.
        const found = answer.groups[0] ?? (answer as unknown as (typeof answer.groups)[number])
        return {
          group,
          offsets: found.topics.flatMap(({ name, partitions }) =>
            partitions.map(each => ({
              topic: name,
              partition: each.partitionIndex,
              offset: each.committedOffset,
              metadata: each.metadata ?? '',
              ...failed(each.errorCode),
            })),
          ),
          ...failed(found.errorCode),
        }
      }),
    )
  },
  async commitOffsets(coordinator, { group, id, generation }, offsets) {
    const answer = await ask(coordinator, OFFSET_COMMIT, group, generation, id, null, committing(offsets))
    return outcomes(answer.topics)
  },
  async listGroups(broker) {
    const answer = await ask(broker, LIST_GROUPS, [], [])
    check(answer.errorCode, 'listing groups')
    return answer.groups.map(({ groupId, protocolType }) => ({ group: groupId, protocolType }))
  },
  async describeGroups(coordinator, groups) {
    const answer = await ask(coordinator, DESCRIBE_GROUPS, [...groups], false)
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
  byTopic(offsets, ({ partition, offset, metadata }) => ({
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
