import { describeTopicDifference, topicDifferences } from './topic-differences.ts'
import { type Topic, type TopicSpec, WeftError } from './transport.ts'

export const titleOf = ({ tenant, namespace, name }: Topic): string =>
  [tenant, namespace, name].filter(part => part !== undefined).join('/')

/** INVALID unless a group may have this name on every transport. */
export function checkGroup(group: string): void {
  if (typeof group !== 'string' || group === '' || Buffer.byteLength(group) > 255)
    throw new WeftError('INVALID', `a group's name has 1 to 255 bytes, not "${group}"`)
}

/** INVALID unless what is asked for a topic, beside its name, makes sense on every transport. */
export function checkSpec(spec: TopicSpec): void {
  const { topic, partitions, retentionMs, retentionBytes, cleanup, replicas, minInSync } = spec
  const title = titleOf(topic)
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 10_000)
    throw new WeftError('INVALID', `topic "${title}": partitions must be 1 to 10000, not ${partitions}`)
  for (const [name, limit] of Object.entries({ retentionMs, retentionBytes }))
    if (limit !== undefined && !(limit >= 0))
      throw new WeftError('INVALID', `topic "${title}": ${name} must be a number from 0 on, not ${limit}`)
  for (const [name, count] of Object.entries({ replicas, minInSync }))
    if (count !== undefined && !(Number.isInteger(count) && count >= 1))
      throw new WeftError('INVALID', `topic "${title}": ${name} must be a whole number from 1 on, not ${count}`)
  if (replicas !== undefined && minInSync !== undefined && minInSync > replicas)
    throw new WeftError('INVALID', `topic "${title}": of ${replicas} replicas ${minInSync} cannot be in sync`)
  if (cleanup !== undefined && cleanup !== 'delete' && cleanup !== 'compact')
    throw new WeftError('INVALID', `topic "${title}": cleanup must be delete or compact, not ${cleanup}`)
}

/** INVALID, with the way out, if a topic cannot be made what is asked for in place. */
export function checkAlterable(existing: TopicSpec, wanted: TopicSpec): void {
  const refused = topicDifferences(existing, wanted).find(({ refusal }) => refusal !== undefined)
  if (refused) throw new WeftError('INVALID', `${describeTopicDifference(refused)}: ${refused.refusal}`)
}

/** INVALID while a group has members, by their client ids. */
export function checkIdle(group: string, members: readonly string[]): void {
  if (members.length === 0) return
  const names = [...new Set(members)].sort().join(', ')
  throw new WeftError('INVALID', `group "${group}" is at work (${names}): stop its members first`)
}

export const noPosition = (group: string, topic: Topic): WeftError =>
  new WeftError('NOT_FOUND', `group "${group}" never had a position in "${titleOf(topic)}"`)
