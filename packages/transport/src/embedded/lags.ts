import type { GroupLag } from '../transport.ts'
import { KEY } from './keys.ts'
import { isLive, membersOf, type Owner } from './members.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'

/** How far each group that ever had a position is behind, in each partition of the topics given. */
export function groupLags(store: Store, topics: readonly TopicEntry[]): GroupLag[] {
  const lags: GroupLag[] = []
  const groups = [...store.meta.getRange({ start: Buffer.from('g'), end: Buffer.from('h') })]
  for (const { key, value } of groups) {
    const [, group] = JSON.parse(key.toString('utf8', 1)) as [tenant: string, name: string]
    const id = value.readDoubleLE(0)
    // Who was killed stays recorded until another member takes over.
    const live = membersOf(store, id).filter(member => isLive(store, member))
    const names = new Map(live.map(({ id, clientId }) => [id, clientId]))
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
