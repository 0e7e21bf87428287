import type { GroupLag } from '../transport.ts'
import type { MemberRecord, Owner } from './groups.ts'
import { after, KEY } from './keys.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'

/** How far each group that ever had a position is behind, in each partition of the topics given. */
export function groupLags(store: Store, topics: readonly TopicEntry[]): GroupLag[] {
  const lags: GroupLag[] = []
  const groups = [...store.meta.getRange({ start: Buffer.from('g'), end: Buffer.from('h') })]
  for (const { key, value } of groups) {
    const [, group] = JSON.parse(key.toString('utf8', 1)) as [tenant: string, name: string]
    const id = value.readDoubleLE(0)
    const members = KEY.member(id, '')
    const names = new Map(
      [...store.entries<MemberRecord>(members, after(members))].map(({ value: m }) => [m.id, m.clientId]),
    )
    for (const { id: topic, spec } of topics)
      for (let partition = 0; partition < spec.partitions; partition++) {
        const position = store.number(KEY.position(id, topic, partition))
        if (position === undefined) continue
        const { first, next } = store.ends(topic, partition)
        const owner = store.json<Owner>(KEY.owner(id, topic, partition))
        const member = owner && names.get(owner.member)
        lags.push({
          group,
          topic: spec.topic,
          partition,
          lag: next - Math.max(first, position),
          ...(member === undefined ? {} : { member }),
        })
      }
  }
  return lags
}
