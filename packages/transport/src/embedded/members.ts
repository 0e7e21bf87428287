import type { SubscribeOptions } from '../transport.ts'
import { after, KEY } from './keys.ts'
import type { Process } from './session.ts'
import type { Store } from './store.ts'
import type { WriteTransaction } from './write-transaction.ts'

export interface MemberRecord extends Process {
  readonly id: string
  readonly clientId: string
  readonly topics: readonly number[]
  readonly mode: Mode
  readonly sessionMs: number
  /** Members that joined earlier come first where partitions can't be shared evenly. */
  readonly joined: number
}

export type Mode = NonNullable<SubscribeOptions['mode']>

/** Whoever has a partition. The epoch rises with each claim, so that whoever had it before can be told apart. */
export interface Owner {
  readonly member: string
  readonly epoch: number
}

/** All that are recorded, also those that died and were not noticed yet. */
export function membersOf(store: Store, group: number): MemberRecord[] {
  const prefix = KEY.member(group, '')
  return store.entries<MemberRecord>(prefix, after(prefix))
}

export const isLive = (store: Store, member: MemberRecord): boolean =>
  store.session.isLive(member.id, member, member.sessionMs)

/** The id of a group, given to it if it is new. `own` is its name among all tenants'. */
export function groupId(store: Store, transaction: WriteTransaction, own: string): number {
  const key = KEY.group(own)
  const known = store.number(key)
  if (known !== undefined) return known
  const id = transaction.newId('group')
  transaction.putNumber(key, id)
  return id
}
