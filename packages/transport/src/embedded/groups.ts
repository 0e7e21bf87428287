import { randomUUID } from 'node:crypto'
import { backoff, pause } from '../backoff.ts'
import { type From, WeftError } from '../transport.ts'
import { KEY } from './keys.ts'
import { groupId, isLive, type MemberRecord, type Mode, membersOf } from './members.ts'
import { Ownership, type Share } from './ownership.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'
import { groupKey } from './watch.ts'

/** A share, as long as the member has it. */
export interface Claim extends Share {
  /** Aborts when the partition is to be given up or was lost. */
  readonly signal: AbortSignal
  readonly claimedAt: number
}

export interface MemberOptions {
  readonly group: string
  /** The group's name among all tenants'. */
  readonly key: string
  readonly from: From
  readonly mode: Mode
  readonly clientId: string
  readonly sessionMs: number
}

interface Held extends Claim {
  readonly stop: AbortController
  /** Settles when the work has ended. */
  done: Promise<void>
  /** Set once it is being given up. */
  released?: Promise<void>
}

/**
 * A member of a group. There is no leader: each member knows who is live, computes its share of the partitions, gives up
 * what is above it and claims what nobody live has. `work` runs for each claim until the claim's signal aborts.
 */
export class Member {
  readonly id = randomUUID()
  readonly held = new Map<number, Held>()
  readonly done: Promise<void>
  readonly #store: Store
  readonly #entries: readonly TopicEntry[]
  readonly #options: MemberOptions
  readonly #work: (claim: Claim, member: Member) => Promise<void>
  readonly #leaving = new AbortController()
  readonly #group: number
  readonly #ownership: Ownership
  /** What was taken over while something was still at work on it. */
  readonly #dropped = new Map<number, Promise<void>>()
  #loop: Promise<void> | undefined
  /** The group's version that the member last looked at. */
  #balanced = -1
  #ending: Promise<void> | undefined
  #fail: (error: unknown) => void = () => {}
  #finish: () => void = () => {}

  /** Resolves when the member has claimed what was free for it. FENCED if the group's mode refuses it. */
  static async join(
    store: Store,
    entries: readonly TopicEntry[],
    options: MemberOptions,
    work: (claim: Claim, member: Member) => Promise<void>,
  ): Promise<Member> {
    const group = await store.committer.commit(transaction => groupId(store, transaction, options.key))
    const member = new Member(store, group, entries, options, work)
    try {
      store.session.enter(member.id, options.sessionMs)
      await member.#register()
      await member.#balance()
    } catch (error) {
      await member.#end(error)
      throw error
    }
    member.#loop = member.#run()
    return member
  }

  private constructor(
    store: Store,
    group: number,
    entries: readonly TopicEntry[],
    options: MemberOptions,
    work: (claim: Claim, member: Member) => Promise<void>,
  ) {
    this.#store = store
    this.#group = group
    this.#ownership = new Ownership(store, group, this.id, entries)
    this.#entries = entries
    this.#options = options
    this.#work = work
    this.done = new Promise((resolve, reject) => {
      this.#finish = resolve
      this.#fail = reject
    })
    this.done.catch(() => {})
  }

  get group(): number {
    return this.#group
  }

  /** Gives everything up, in order, and leaves. */
  async leave(): Promise<void> {
    this.#leaving.abort()
    await this.#loop
    await this.#end()
    await this.done.catch(() => {})
  }

  /** Also the way out when the member can't go on: nothing is handled any more, others take over at once. */
  #end(error?: unknown): Promise<void> {
    this.#ending ??= (async () => {
      this.#leaving.abort()
      const given = [...[...this.held.values()].map(held => this.#release(held)), ...this.#dropped.values()]
      const left = Promise.allSettled(given).then(() =>
        this.#store.committer.commit(transaction => {
          transaction.remove(KEY.member(this.#group, this.id))
          transaction.touchGroup(this.#group)
        }),
      )
      // If the store can't be written, the session's list still tells the others that the member is gone.
      await left.catch(() => {})
      this.#store.session.leave(this.id)
      if (error) this.#fail(error)
      else this.#finish()
    })()
    return this.#ending
  }

  /** FENCED unless the claim still is this member's; to be called in the transaction that depends on it. */
  check(claim: Claim): void {
    if (!this.#ownership.has(claim))
      throw new WeftError('FENCED', `partition ${claim.partition} of group "${this.#options.group}" was taken over`)
  }

  position(topic: number, partition: number): number {
    return this.#store.number(KEY.position(this.#group, topic, partition)) ?? 0
  }

  async #run(): Promise<void> {
    const { signal } = this.#leaving
    const every = Math.min(500, this.#options.sessionMs / 4)
    while (!signal.aborted) {
      if (this.#version() === this.#balanced) await this.#store.watch.next([groupKey(this.#group)], signal, every)
      if (signal.aborted) return
      try {
        await this.#balance()
      } catch (error) {
        if (!(error instanceof WeftError && error.retryable)) {
          await this.#end(error)
          return
        }
        await pause(every, signal)
      }
    }
  }

  #version(): number {
    return this.#store.number(KEY.groupVersion(this.#group)) ?? 0
  }

  #register(): Promise<void> {
    const record: Omit<MemberRecord, 'joined'> = {
      ...this.#store.session.process,
      id: this.id,
      clientId: this.#options.clientId,
      topics: this.#entries.map(entry => entry.id),
      mode: this.#options.mode,
      sessionMs: this.#options.sessionMs,
    }
    return this.#store.committer.commit(transaction => {
      for (const rival of membersOf(this.#store, this.#group).filter(
        member => this.#isRival(member) && isLive(this.#store, member),
      ))
        if (rival.mode === 'exclusive' || record.mode === 'exclusive')
          throw new WeftError(
            'FENCED',
            `group "${this.#options.group}" is exclusive and has a member already: ${rival.clientId}`,
          )
      const joined = transaction.touchGroup(this.#group)
      transaction.putJson(KEY.member(this.#group, this.id), { ...record, joined } satisfies MemberRecord)
    })
  }

  #isRival(member: MemberRecord): boolean {
    return member.id !== this.id && this.#entries.some(entry => member.topics.includes(entry.id))
  }

  async #balance(): Promise<void> {
    this.#balanced = this.#version()
    if (!membersOf(this.#store, this.#group).some(member => member.id === this.id)) await this.#register()
    const members = membersOf(this.#store, this.#group)
    const live = members.filter(member => member.id === this.id || isLive(this.#store, member))
    const dead = members.filter(member => !live.includes(member))
    const partitions = this.#entries[0]?.spec.partitions ?? 0
    const quota = this.#quota(live, partitions)
    for (const held of this.held.values()) if (!this.#ownership.has(held)) this.#drop(held)
    for (const held of [...this.held.values()].slice(quota)) void this.#release(held)
    if (this.held.size >= quota || this.#leaving.signal.aborted) return
    const gone = new Set(dead.map(member => member.id))
    const free = (n: number) => !this.held.has(n) && !this.#dropped.has(n) && this.#ownership.isFree(n, gone)
    const wanted = Array.from({ length: partitions }, (_, n) => n).filter(free)
    if (wanted.length === 0 && dead.length === 0) return
    const claims = await this.#store.committer.commit(transaction => {
      const claimed: Share[] = []
      for (const partition of wanted) {
        if (this.held.size + claimed.length >= quota) break
        if (free(partition)) claimed.push(this.#ownership.take(transaction, partition, this.#options.from))
      }
      for (const member of gone) transaction.remove(KEY.member(this.#group, member))
      if (claimed.length > 0 || gone.size > 0) transaction.touchGroup(this.#group)
      return claimed
    })
    for (const share of claims) this.#start(share)
  }

  /** How many partitions the member should have, as every other live member computes it too. */
  #quota(live: readonly MemberRecord[], partitions: number): number {
    if (this.#options.mode === 'failover') return partitions
    const sharing = live
      .filter(member => member.id === this.id || this.#isRival(member))
      .sort((a, b) => a.joined - b.joined)
    const rank = sharing.findIndex(member => member.id === this.id)
    return Math.floor(partitions / sharing.length) + (rank < partitions % sharing.length ? 1 : 0)
  }

  #start(share: Share): void {
    const stop = new AbortController()
    const held: Held = { ...share, signal: stop.signal, claimedAt: Date.now(), stop, done: Promise.resolve() }
    this.held.set(share.partition, held)
    held.done = this.#work(held, this).catch(error => this.#lost(held, error))
  }

  /** A claim that was taken over is dropped; any other failure of the work ends the member. */
  #lost(held: Held, error: unknown): void {
    this.#drop(held)
    if (!(error instanceof WeftError && error.code === 'FENCED')) void this.#end(error)
  }

  /** Another member has it. It is not claimed again before what is still at work on it has ended. */
  #drop(held: Held): void {
    held.stop.abort()
    if (this.held.get(held.partition) !== held) return
    this.held.delete(held.partition)
    const ended = held.done.then(() => {
      if (this.#dropped.get(held.partition) === ended) this.#dropped.delete(held.partition)
    })
    this.#dropped.set(held.partition, ended)
  }

  #release(held: Held): Promise<void> {
    held.stop.abort()
    held.released ??= held.done.then(async () => {
      if (this.held.get(held.partition) !== held) return
      await this.#giveBack(held)
      this.held.delete(held.partition)
    })
    return held.released
  }

  /** Tries until it is done: nobody else may take what a live member owns. */
  async #giveBack(held: Held): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#store.committer.commit(transaction => {
          this.#ownership.giveBack(transaction, held)
          transaction.touchGroup(this.#group)
        })
      } catch {
        if (!(await pause(backoff(attempt), this.#leaving.signal))) return
      }
    }
  }
}
