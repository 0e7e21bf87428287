import { buffer, byTopic } from '../by-topic.ts'
import type { Committing, Failed, GroupOffsets, Lane, Place } from '../driver.ts'
import { check, errorOf, failed } from '../error-names.ts'
import { type Ask, api, noTags, ownApi, skipTags } from './asking.ts'
import type { Decoder } from './library.ts'

type Groups =
  | 'joinGroup'
  | 'syncGroup'
  | 'heartbeat'
  | 'leaveGroup'
  | 'fetchOffsets'
  | 'commitOffsets'
  | 'listGroups'
  | 'describeGroups'

interface Coded {
  readonly errorCode: number
}

const JOIN_GROUP = api<
  {
    readonly groupId: string
    readonly sessionTimeout: number
    readonly rebalanceTimeout: number
    readonly memberId: string
    readonly protocolType: string
    readonly groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[]
  },
  Coded & {
    readonly generationId: number
    readonly leaderId: string
    readonly memberId: string
    readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]
  }
>('JoinGroup', [5])

const SYNC_GROUP = api<
  {
    readonly groupId: string
    readonly generationId: number
    readonly memberId: string
    readonly groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[]
  },
  Coded & { readonly memberAssignment: Buffer }
>('SyncGroup', [3])

const HEARTBEAT = api<
  {
    readonly groupId: string
    readonly groupGenerationId: number
    readonly memberId: string
    readonly groupInstanceId: null
  },
  Coded
>('Heartbeat', [3])

const LEAVE_GROUP = api<
  { readonly groupId: string; readonly memberId: string },
  Coded & { readonly members: readonly Coded[] }
>('LeaveGroup', [3])

const LIST_GROUPS = api<object, Coded & { readonly groups: readonly { groupId: string; protocolType: string }[] }>(
  'ListGroups',
  [1, 2],
)

const DESCRIBE_GROUPS = api<
  { readonly groupIds: readonly string[] },
  {
    readonly groups: readonly (Coded & {
      readonly groupId: string
      readonly state: string
      readonly members: readonly {
        readonly memberId: string
        readonly clientId: string
        readonly memberAssignment: Buffer
      }[]
    })[]
  }
>('DescribeGroups', [1, 2])

const OFFSET_COMMIT = api<
  {
    readonly groupId: string
    readonly groupGenerationId: number
    readonly memberId: string
    readonly topics: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly offset: bigint; readonly metadata: string }[]
    }[]
  },
  {
    readonly responses: readonly {
      readonly topic: string
      readonly partitions: readonly (Coded & { readonly partition: number })[]
    }[]
  }
>('OffsetCommit', [5])

/** The library ends at 4: without waiting for what transactions hold open (KIP-447). */
const OFFSET_FETCH = ownApi({
  name: 'OffsetFetch',
  key: 9,
  versions: [7],
  flexibleFrom: 6,
  encode(to, { group, places, stable }: { group: string; places: readonly Place[] | undefined; stable: boolean }) {
    to.writeUVarIntString(group)
    const topics = places && byTopic(places, ({ partition }) => partition)
    to.writeUVarInt(topics ? topics.length + 1 : 0)
    for (const [topic, partitions] of topics ?? []) {
      to.writeUVarIntString(topic).writeUVarInt(partitions.length + 1)
      for (const partition of partitions) to.writeInt32(partition)
      noTags(to)
    }
    noTags(to.writeBoolean(stable))
  },
  decode(from) {
    from.readInt32()
    const offsets = from.readUVarIntArray(topics => {
      const topic = topics.readUVarIntString() ?? ''
      const partitions = topics.readUVarIntArray(each => committedOf(topic, each)) ?? []
      skipTags(topics)
      return partitions
    })
    return { offsets: (offsets ?? []).flat(), ...failed(from.readInt16()) }
  },
})

function committedOf(topic: string, from: Decoder): Committing & Failed {
  const [partition, offset] = [from.readInt32(), from.readInt64()]
  // The epoch of the leader at that time.
  from.readInt32()
  const [metadata, code] = [from.readUVarIntString() ?? '', from.readInt16()]
  skipTags(from)
  return { topic, partition, offset, metadata, ...failed(code) }
}

/** Membership, and where groups are. */
export const groups = (ask: Ask): Pick<Lane, Groups> => ({
  async joinGroup(coordinator, { group, member, sessionMs, rebalanceMs, protocol, metadata }) {
    const join = (memberId: string) =>
      ask(coordinator, JOIN_GROUP, {
        groupId: group,
        sessionTimeout: sessionMs,
        rebalanceTimeout: rebalanceMs,
        memberId,
        protocolType: 'consumer',
        groupProtocols: [{ name: protocol, metadata: buffer(metadata) }],
      })
    let answer = await join(member)
    // The broker tells a new member its id first.
    if (errorOf(answer.errorCode) === 'MEMBER_ID_REQUIRED') answer = await join(answer.memberId)
    check(answer.errorCode, `joining group "${group}"`)
    return {
      member: answer.memberId,
      generation: answer.generationId,
      leader: answer.leaderId,
      members: answer.members.map(({ memberId, memberMetadata }) => ({ id: memberId, metadata: memberMetadata })),
    }
  },
  async syncGroup(coordinator, { group, id, generation }, _protocol, assignments) {
    const { errorCode, memberAssignment } = await ask(coordinator, SYNC_GROUP, {
      groupId: group,
      generationId: generation,
      memberId: id,
      groupAssignment: [...assignments].map(([memberId, assignment]) => ({
        memberId,
        memberAssignment: buffer(assignment),
      })),
    })
    check(errorCode, `synchronizing with group "${group}"`)
    return memberAssignment
  },
  async heartbeat(coordinator, { group, id, generation }) {
    const { errorCode } = await ask(coordinator, HEARTBEAT, {
      groupId: group,
      groupGenerationId: generation,
      memberId: id,
      groupInstanceId: null,
    })
    check(errorCode, `staying in group "${group}"`)
  },
  async leaveGroup(coordinator, { group, id }) {
    const { errorCode, members } = await ask(coordinator, LEAVE_GROUP, { groupId: group, memberId: id })
    check(errorCode || (members[0]?.errorCode ?? 0), `leaving group "${group}"`)
  },
  async fetchOffsets(coordinator, groups, stable) {
    return Promise.all(
      groups.map(
        async ({ group, places }): Promise<GroupOffsets> => ({
          group,
          ...(await ask(coordinator, OFFSET_FETCH, { group, places, stable })),
        }),
      ),
    )
  },
  async commitOffsets(coordinator, { group, id, generation }, offsets) {
    const topics = byTopic(offsets, ({ partition, offset, metadata }) => ({ partition, offset, metadata }))
    const { responses } = await ask(coordinator, OFFSET_COMMIT, {
      groupId: group,
      groupGenerationId: generation,
      memberId: id,
      topics: topics.map(([topic, partitions]) => ({ topic, partitions })),
    })
    return responses.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, errorCode }) => ({ topic, partition, ...failed(errorCode) })),
    )
  },
  async listGroups(broker) {
    const { errorCode, groups } = await ask(broker, LIST_GROUPS, {})
    check(errorCode, 'listing groups')
    return groups.map(({ groupId, protocolType }) => ({ group: groupId, protocolType }))
  },
  async describeGroups(coordinator, groups) {
    const answer = await ask(coordinator, DESCRIBE_GROUPS, { groupIds: groups })
    return answer.groups.map(({ groupId, state, members, errorCode }) => ({
      group: groupId,
      state,
      members: members.map(({ memberId, clientId, memberAssignment }) => ({
        id: memberId,
        clientId,
        assignment: memberAssignment,
      })),
      ...failed(errorCode),
    }))
  },
})
