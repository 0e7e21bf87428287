import {
  createTopicsV4,
  createTopicsV5,
  createTopicsV6,
  createTopicsV7,
  describeConfigsV2,
  describeConfigsV3,
  describeConfigsV4,
  incrementalAlterConfigsV0,
  incrementalAlterConfigsV1,
} from '@platformatic/kafka'
import type { Configs, Lane } from '../driver.ts'
import { check, failed } from '../error-names.ts'
import { type Ask, type AskAny, api } from './asking.ts'

const CREATE_TOPICS = api('CreateTopics', createTopicsV7, createTopicsV6, createTopicsV5, createTopicsV4)
const DESCRIBE_CONFIGS = api('DescribeConfigs', describeConfigsV4, describeConfigsV3, describeConfigsV2)
const ALTER_CONFIGS = api('IncrementalAlterConfigs', incrementalAlterConfigsV1, incrementalAlterConfigsV0)

export const topics = (
  ask: Ask,
  askAny: AskAny,
): Pick<Lane, 'createTopics' | 'describeTopicConfigs' | 'alterConfigs'> => ({
  async createTopics(broker, topics) {
    const asked = topics.map(({ name, partitions, replicas = -1, configs }) => ({
      name,
      numPartitions: partitions,
      replicationFactor: replicas,
      assignments: [],
      configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    }))
    const answer = await ask(broker, CREATE_TOPICS, asked, 10_000, false)
    return answer.topics.map(({ name, errorCode, errorMessage }) => ({
      name,
      ...(errorMessage ? { message: errorMessage } : {}),
      ...failed(errorCode),
    }))
  },
  async describeTopicConfigs(topics, names) {
    const asked = topics.map(name => ({ resourceType: 2, resourceName: name, configurationKeys: [...names] }) as const)
    const answer = await askAny(DESCRIBE_CONFIGS, asked as never, false, false)
    const found = new Map<string, Configs>()
    for (const { resourceName, configs, errorCode } of answer.results)
      if (errorCode === 0)
        found.set(resourceName, Object.fromEntries(configs.map(({ name, value }) => [name, value ?? ''])))
    return found
  },
  async alterConfigs({ kind, name }, configs) {
    const asked = Object.entries(configs).map(([key, value]) => ({ name: key, configOperation: 0, value }) as const)
    const resourceType = kind === 'topic' ? 2 : 4
    const answer = await askAny(ALTER_CONFIGS, [{ resourceType, resourceName: name, configs: asked }], false)
    check(answer.responses[0]?.errorCode ?? -1, `setting ${Object.keys(configs).join(', ')}`)
  },
})
