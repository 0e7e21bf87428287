import type { From } from '../transport.ts'
import { KEY } from './keys.ts'
import type { Owner } from './members.ts'
import { startOf } from './reader.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'
import type { WriteTransaction } from './write-transaction.ts'

/** Partition number n of every topic of a member, with the epochs at which it took them, by topic id. */
export interface Share {
  readonly partition: number
  readonly epochs: ReadonlyMap<number, number>
}

/** What the store says of who has a group's partitions, as one member reads and writes it. */
export class Ownership {
  readonly #store: Store
  readonly #group: number
  readonly #member: string
  readonly #entries: readonly TopicEntry[]

  constructor(store: Store, group: number, member: string, entries: readonly TopicEntry[]) {
    this.#store = store
    this.#group = group
    this.#member = member
    this.#entries = entries
  }

  has({ partition, epochs }: Share): boolean {
    for (const [topic, epoch] of epochs) {
      const owner = this.#ownerOf(topic, partition)
      if (owner?.member !== this.#member || owner.epoch !== epoch) return false
    }
    return true
  }

  /** Nobody has it, or a member that is among the `gone` or no member any more. */
  isFree(partition: number, gone: ReadonlySet<string>): boolean {
    return this.#entries.every(entry => {
      const owner = this.#ownerOf(entry.id, partition)
      if (!owner?.member || owner.member === this.#member || gone.has(owner.member)) return true
      return !this.#store.get(KEY.member(this.#group, owner.member))
    })
  }

  /** From whoever had it. A group without a position gets one, where `from` says. */
  take(transaction: WriteTransaction, partition: number, from: From): Share {
    const epochs = new Map<number, number>()
    for (const entry of this.#entries) {
      const epoch = (this.#ownerOf(entry.id, partition)?.epoch ?? 0) + 1
      transaction.putJson(KEY.owner(this.#group, entry.id, partition), { member: this.#member, epoch } satisfies Owner)
      epochs.set(entry.id, epoch)
      const position = KEY.position(this.#group, entry.id, partition)
      if (this.#store.number(position) === undefined)
        transaction.putNumber(position, startOf(this.#store, entry, partition, from))
    }
    return { partition, epochs }
  }

  /** What another has taken over meanwhile is left to it. */
  giveBack(transaction: WriteTransaction, { partition, epochs }: Share): void {
    for (const [topic, epoch] of epochs) {
      const owner = this.#ownerOf(topic, partition)
      if (owner?.member === this.#member && owner.epoch === epoch)
        transaction.putJson(KEY.owner(this.#group, topic, partition), { member: '', epoch } satisfies Owner)
    }
  }

  #ownerOf(topic: number, partition: number): Owner | undefined {
    return this.#store.json<Owner>(KEY.owner(this.#group, topic, partition))
  }
}
