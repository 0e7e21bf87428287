import type { Configs, Lane, Metadata } from '../driver.ts'
import { check, errorOf, failed } from '../error-names.ts'
import { type Ask, type AskAny, api, ownApi } from './asking.ts'

/** The library asks for all topics when it is given none. */
export const METADATA = ownApi({
  name: 'Metadata',
  key: 3,
  versions: [5, 6],
  encode(to, { topics }: { topics: readonly string[] | null }) {
    to.writeInt32(topics?.length ?? -1)
    for (const topic of topics ?? []) to.writeString(topic)
    to.writeBoolean(false)
  },
  decode(from): Metadata {
    from.readInt32()
    const brokers = from.readArray(each => {
      const broker = { id: each.readInt32(), host: each.readString() ?? '', port: each.readInt32() }
      // The rack.
      each.readString()
      return broker
    })
    const [cluster, controller] = [from.readString() ?? '', from.readInt32()]
    const topics = from.readArray(each => {
      const [code, name, internal] = [each.readInt16(), each.readString() ?? '', each.readBoolean()]
      const leaders: number[] = []
      let copies = Number.POSITIVE_INFINITY
      each.readArray(part => {
        const [partCode, partition, leader] = [part.readInt16(), part.readInt32(), part.readInt32()]
        // Those that have it, those that are in sync, those that are away.
        const [replicas] = [0, 1, 2].map(() => part.readArray(id => id.readInt32()).length)
        copies = Math.min(copies, replicas ?? 0)
        leaders[partition] = partCode === 0 || errorOf(partCode) === 'REPLICA_NOT_AVAILABLE' ? leader : -1
      })
      return { name, internal, leaders, replicas: copies, ...failed(code) }
    })
    return { cluster, controller, brokers, topics }
  },
})

/** `groupId`: of whatever kind it is. */
export const FIND_COORDINATOR = api<
  { readonly groupId: string; readonly coordinatorType: 0 | 1 },
  { readonly errorCode: number; readonly coordinator: { nodeId: number; host: string; port: number } }
>('GroupCoordinator', [1, 2])

const CREATE_TOPICS_BEFORE = api<
  {
    readonly timeout: number
    readonly topics: readonly {
      readonly topic: string
      readonly numPartitions: number
      readonly configEntries: readonly { readonly name: string; readonly value: string }[]
    }[]
  },
  {
    readonly topicErrors: readonly {
      readonly topic: string
      readonly errorCode: number
      readonly errorMessage: string | null
    }[]
  }
>('CreateTopics', [3])

/** Version 4 is version 3, except that the broker knows how many replicas there are to be by default (KIP-464). */
const CREATE_TOPICS: typeof CREATE_TOPICS_BEFORE = {
  ...CREATE_TOPICS_BEFORE,
  versions: [4],
  exchange(version, args) {
    const { request, decode } = CREATE_TOPICS_BEFORE.exchange(3, args)
    return { request: { ...request, apiVersion: version }, decode }
  },
}

const [TOPIC, BROKER] = [2, 4]

const DESCRIBE_CONFIGS = api<
  {
    readonly resources: readonly {
      readonly type: number
      readonly name: string
      readonly configNames: readonly string[]
    }[]
  },
  {
    readonly resources: readonly {
      readonly errorCode: number
      readonly resourceName: string
      readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[]
    }[]
  }
>('DescribeConfigs', [1, 2])

/** The library only knows how to replace all that was configured. */
const INCREMENTAL_ALTER_CONFIGS = ownApi({
  name: 'IncrementalAlterConfigs',
  key: 44,
  versions: [0],
  encode(to, { type, name, configs }: { type: number; name: string; configs: Configs }) {
    const entries = Object.entries(configs)
    to.writeInt32(1).writeInt8(type).writeString(name).writeInt32(entries.length)
    for (const [key, value] of entries) to.writeString(key).writeInt8(SET).writeString(value)
    to.writeBoolean(false)
  },
  decode(from) {
    from.readInt32()
    return from.readArray(each => {
      const [code, message] = [each.readInt16(), each.readString()]
      each.readInt8()
      each.readString()
      return { code, message }
    })
  },
})

const SET = 0

export const topics = (
  ask: Ask,
  askAny: AskAny,
): Pick<Lane, 'createTopics' | 'describeTopicConfigs' | 'alterConfigs'> => ({
  async createTopics(broker, topics) {
    const { topicErrors } = await ask(broker, CREATE_TOPICS, {
      timeout: 10_000,
      topics: topics.map(({ name, partitions, replicas = -1, configs }) => ({
        topic: name,
        numPartitions: partitions,
        replicationFactor: replicas,
        configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
      })),
    })
    return topicErrors.map(({ topic, errorCode, errorMessage }) => ({
      name: topic,
      ...(errorMessage ? { message: errorMessage } : {}),
      ...failed(errorCode),
    }))
  },
  async describeTopicConfigs(topics, names) {
    const asked = topics.map(name => ({ type: TOPIC, name, configNames: names }))
    const { resources } = await askAny(DESCRIBE_CONFIGS, { resources: asked })
    const found = new Map<string, Configs>()
    for (const { resourceName, configEntries, errorCode } of resources)
      if (errorCode === 0)
        found.set(
          resourceName,
          Object.fromEntries(configEntries.map(({ configName, configValue }) => [configName, configValue ?? ''])),
        )
    return found
  },
  async alterConfigs({ kind, name }, configs) {
    const type = kind === 'topic' ? TOPIC : BROKER
    const [answer] = await askAny(INCREMENTAL_ALTER_CONFIGS, { type, name, configs })
    check(answer?.code ?? -1, `setting ${Object.keys(configs).join(', ')}`)
  },
})
