import { type Topic, type TopicSpec, WeftError } from './transport.ts'

export const titleOf = ({ tenant, namespace, name }: Topic): string =>
  [tenant, namespace, name].filter(part => part !== undefined).join('/')

/** INVALID unless a group may have this name on every transport. */
export function checkGroup(group: string): void {
  if (typeof group !== 'string' || group === '' || Buffer.byteLength(group) > 255)
    throw new WeftError('INVALID', `a group's name has 1 to 255 bytes, not "${group}"`)
}

/** INVALID unless what is asked for a topic, beside its name, makes sense on every transport. */
export function checkSpec({ topic, partitions, retentionMs, retentionBytes, cleanup }: TopicSpec): void {
  const title = titleOf(topic)
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 10_000)
    throw new WeftError('INVALID', `topic "${title}": partitions must be 1 to 10000, not ${partitions}`)
  for (const [name, limit] of Object.entries({ retentionMs, retentionBytes }))
    if (limit !== undefined && !(limit >= 0))
      throw new WeftError('INVALID', `topic "${title}": ${name} must be a number from 0 on, not ${limit}`)
  if (cleanup !== undefined && cleanup !== 'delete' && cleanup !== 'compact')
    throw new WeftError('INVALID', `topic "${title}": cleanup must be delete or compact, not ${cleanup}`)
}
