import { createTopicsV7, describeConfigsV4, incrementalAlterConfigsV1 } from '@platformatic/kafka'
import type { Configs, Lane } from '../driver.ts'
import { type Ask, type AskAny, check, failed } from './asking.ts'

export const topics = (
  ask: Ask,
  askAny: AskAny,
): Pick<Lane, 'createTopics' | 'describeTopicConfigs' | 'alterConfigs'> => ({
  async createTopics(broker, topics) {
    const asked = topics.map(({ name, partitions, configs }) => ({
      name,
      numPartitions: partitions,
      replicationFactor: -1,
      assignments: [],
      configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    }))
    const answer = await ask(broker, createTopicsV7.api, asked, 10_000, false)
    return answer.topics.map(({ name, errorCode, errorMessage }) => ({
      name,
      ...(errorMessage ? { message: errorMessage } : {}),
      ...failed(errorCode),
    }))
  },
  async describeTopicConfigs(topics, names) {
    const asked = topics.map(name => ({ resourceType: 2, resourceName: name, configurationKeys: [...names] }) as const)
    const answer = await askAny(describeConfigsV4.api, asked as never, false, false)
    const found = new Map<string, Configs>()
    for (const { resourceName, configs, errorCode } of answer.results)
      if (errorCode === 0)
        found.set(resourceName, Object.fromEntries(configs.map(({ name, value }) => [name, value ?? ''])))
    return found
  },
  async alterConfigs({ kind, name }, configs) {
    const asked = Object.entries(configs).map(([key, value]) => ({ name: key, configOperation: 0, value }) as const)
    const resourceType = kind === 'topic' ? 2 : 4
    const answer = await askAny(
      incrementalAlterConfigsV1.api,
      [{ resourceType, resourceName: name, configs: asked }],
      false,
    )
    check(answer.responses[0]?.errorCode ?? -1, `setting ${Object.keys(configs).join(', ')}`)
  },
})
