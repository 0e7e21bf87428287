import { checkGroup, checkIdle, noPosition } from '../checks.ts'
import { type From, type Reset, type ResetOptions, WeftError } from '../transport.ts'
import { after, KEY, statePrefix } from './keys.ts'
import { isLive, membersOf, type Owner } from './members.ts'
import { positionAt, startOf } from './reader.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'

/** See Admin.reset. `own`: the group's name among all tenants'. */
export async function reset(
  store: Store,
  entry: TopicEntry,
  group: string,
  own: string,
  to: From,
  { partitions, dryRun = false }: ResetOptions = {},
): Promise<Reset> {
  checkGroup(group)
  const { id: topic, spec } = entry
  const all = Array.from({ length: spec.partitions }, (_, partition) => partition)
  const wrong = partitions?.find(partition => !all.includes(partition))
  if (wrong !== undefined)
    throw new WeftError('INVALID', `"${spec.topic.name}" has partitions 0 to ${spec.partitions - 1}, not ${wrong}`)
  const asked = all.filter(partition => partitions?.includes(partition) ?? true)
  const look = () => {
    const known = store.number(KEY.group(own))
    const places = all.map(partition => known && store.number(KEY.position(known, topic, partition)))
    if (known === undefined || places.every(place => place === undefined)) throw noPosition(group, spec.topic)
    const live = membersOf(store, known).filter(member => isLive(store, member))
    checkIdle(
      group,
      live.map(({ clientId }) => clientId),
    )
    const moved = asked.map(partition => {
      const was = places[partition]
      return { partition, was, now: startOf(store, entry, partition, to) }
    })
    return { known, moved }
  }
  const { known, moved } = dryRun
    ? look()
    : await store.committer.commit(transaction => {
        const found = look()
        for (const { partition, now } of found.moved) {
          // Whoever died here may only be frozen: a new epoch tells it so when it wakes up.
          const owner = KEY.owner(found.known, topic, partition)
          const { epoch } = store.json<Owner>(owner) ?? { epoch: 0 }
          transaction.putJson(owner, { member: '', epoch: epoch + 1 } satisfies Owner)
          transaction.putNumber(KEY.position(found.known, topic, partition), now)
        }
        transaction.touchGroup(found.known)
        return found
      })
  return {
    moved: moved.map(({ partition, was, now }) => ({
      was: was === undefined ? undefined : positionAt(partition, was - 1),
      now: positionAt(partition, now - 1),
    })),
    stateful: all.some(partition => keepsState(store, known, partition)),
  }
}

function keepsState(store: Store, group: number, partition: number): boolean {
  const start = statePrefix(group, partition, '').subarray(0, 6)
  for (const _ of store.state.getKeys({ start, end: after(start), limit: 1 })) return true
  return false
}
