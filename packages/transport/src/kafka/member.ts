import { pause } from '../backoff.ts'
import { WeftError } from '../transport.ts'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription, userDataOf } from './assignment.ts'
import { assign, type Candidate, type Share } from './assignor.ts'
import { Bell } from './bell.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { type Committing, KafkaError, type Lane, type Membership } from './driver.ts'
import { isPassing, weftError } from './errors.ts'
import { type Claim, Holdings } from './holdings.ts'
import type { Standby } from './standby.ts'

export interface MemberOptions {
  readonly group: string
  /** Kafka's names; all have as many partitions. */
  readonly topics: readonly string[]
  readonly partitions: number
  readonly exclusive: boolean
  readonly sessionMs: number
  /** How long the others wait for a member that does not answer when the group changes. */
  readonly rebalanceMs: number
  /** How long work on a partition may hold up its going to another member. */
  readonly handoverMs: number
  /** How many members beside the owner are to keep a copy of each partition's state, and who does that here. */
  readonly standbys?: number
  readonly standby?: Standby | undefined
}

const PROTOCOL = 'weft-cooperative'
const GONE = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID'])

/**
 * Membership in a group, rebalanced cooperatively: a member goes on with what it keeps while the group changes, and only
 * what moves is given up, by its owner first. Heartbeats don't depend on how long the work takes.
 */
export class Member implements AsyncDisposable {
  readonly done: Promise<void>
  readonly options: MemberOptions
  readonly #cluster: Cluster
  /** For joining, which waits for the others. */
  readonly #lane: Lane
  /** For heartbeats: behind nothing that takes longer, and asked for again in time if the connection is dead. */
  readonly #pulse: Lane
  readonly #holdings: Holdings
  readonly #assigned = new Set<number>()
  readonly #stop = new AbortController()
  readonly #bell = new Bell()
  readonly #since = Date.now()
  /** When the group last heard of this member, by performance.now(). */
  #heard = 0
  readonly #finish = Promise.withResolvers<void>()
  #membership: Membership
  /** In the group with this generation, between joining and the next rebalance. */
  #stable = false
  #rejoin = false
  #leaving: Promise<void> | undefined

  constructor(cluster: Cluster, options: MemberOptions, serve: (claim: Claim) => Promise<void>) {
    this.#cluster = cluster
    this.options = options
    this.#holdings = new Holdings(
      options,
      serve,
      claim => this.#ended(claim),
      error => this.#fail(error),
    )
    // Whoever joins is answered when all have joined.
    this.#lane = cluster.driver.lane({ timeoutMs: options.rebalanceMs + 5_000 })
    this.#pulse = cluster.driver.lane({ timeoutMs: Math.max(2_000, options.sessionMs / 3) })
    this.#membership = { group: options.group, id: '', generation: -1 }
    this.done = this.#finish.promise
    this.done.catch(() => {})
    void this.#run()
  }

  get held(): readonly Claim[] {
    return this.#holdings.claims
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#stop.signal.aborted) {
      try {
        await this.#join()
        failures = 0
        await this.#stay()
      } catch (error) {
        if (error instanceof KafkaError && GONE.has(error.code)) {
          this.#tellOfSilence()
          this.#loseAll()
        } else if (!(isPassing(error) || (error instanceof KafkaError && error.code === 'REBALANCE_IN_PROGRESS')))
          this.#fail(weftError(error))
        await pause(Math.min(1_000, 10 * 2 ** failures++), this.#stop.signal)
      }
    }
  }

  async #join(): Promise<void> {
    const { group, topics, sessionMs, rebalanceMs } = this.options
    this.#stable = false
    this.#rejoin = false
    // What was taken away must have ended before the member asks for more.
    await this.#holdings.lostEnded()
    const joined = await this.#cluster.coordinated(
      'group',
      group,
      coordinator =>
        this.#lane.joinGroup(coordinator, {
          group,
          member: this.#membership.id,
          sessionMs,
          rebalanceMs,
          protocol: PROTOCOL,
          metadata: this.#subscription(),
        }),
      { signal: this.#stop.signal },
    )
    const membership = { group, id: joined.member, generation: joined.generation }
    this.#membership = { ...membership, generation: this.#membership.generation }
    const assignments = new Map<string, Uint8Array>()
    if (joined.leader === joined.member)
      for (const [id, { partitions, ...share }] of assign(joined.members.map(candidateOf))) {
        const subscribed = joined.members.find(each => each.id === id)
        const own = subscribed ? decodeSubscription(subscribed.metadata).topics : topics
        const assigned = own.map(topic => ({ topic, partitions }))
        assignments.set(id, encodeAssignment(assigned, Buffer.from(JSON.stringify(share))))
      }
    const assignment = await this.#cluster.coordinated(
      'group',
      group,
      coordinator => this.#lane.syncGroup(coordinator, membership, PROTOCOL, assignments),
      { signal: this.#stop.signal },
    )
    if (this.#stop.signal.aborted) return
    this.#membership = membership
    this.#heard = performance.now()
    const { refused, standby } = shareOf(assignment)
    if (refused) {
      this.#fail(this.#refusal('another member has it'))
      return
    }
    const assigned = new Set(decodeAssignment(assignment)[0]?.partitions)
    this.options.standby?.follow(new Set(standby.filter(partition => !assigned.has(partition))))
    this.#apply(assigned)
  }

  #subscription(): Uint8Array {
    const { topics, partitions, exclusive, standbys, standby } = this.options
    const owned = this.held.map(({ partition }) => partition)
    const warm = standby?.partitions
    const userData = Buffer.from(JSON.stringify({ partitions, exclusive, since: this.#since, standbys, warm }))
    return encodeSubscription({ topics, userData, owned: topics.map(topic => ({ topic, partitions: owned })) })
  }

  #apply(assigned: ReadonlySet<number>): void {
    this.#assigned.clear()
    for (const partition of assigned) this.#assigned.add(partition)
    this.#holdings.giveUp(assigned)
    this.#stable = true
    if (!this.#leaving)
      for (const partition of assigned) if (!this.#holdings.has(partition)) this.#holdings.hold(partition)
    this.#bell.ring()
  }

  /** Work on a partition has ended: whoever is to have it next waits for that. */
  #ended({ partition, lost }: Claim): void {
    if (this.#leaving || lost.aborted) return
    if (this.#assigned.has(partition) && this.#stable) this.#holdings.hold(partition)
    else this.#again()
  }

  #again(): void {
    this.#rejoin = true
    this.#bell.ring()
  }

  /** Heartbeats until the group changes. */
  async #stay(): Promise<void> {
    const { group, sessionMs } = this.options
    while (!this.#stop.signal.aborted) {
      const { rings } = this.#bell
      if (this.#rejoin) return
      try {
        const membership = this.#membership
        await this.#cluster.coordinated('group', group, coordinator => this.#pulse.heartbeat(coordinator, membership), {
          signal: this.#stop.signal,
        })
        this.#heard = performance.now()
      } catch (error) {
        if (error instanceof KafkaError && error.code === 'REBALANCE_IN_PROGRESS') return
        if (!isPassing(error)) throw error
      }
      await this.#bell.after(rings, Math.min(3_000, sessionMs / 5))
    }
  }

  /** Heartbeats don't wait for work, but nothing goes on in a process that sleeps or whose event loop is held up. */
  #tellOfSilence(): void {
    const { group, sessionMs } = this.options
    const silent = Math.round(performance.now() - this.#heard)
    if (this.#heard === 0 || silent < sessionMs) return
    const why = `this process said nothing for ${silent} ms: it slept, lost the broker, or work held up its event loop`
    const remedy = `let work give way more often, or allow more than sessionMs=${sessionMs}`
    process.emitWarning(`group "${group}" went on without a member, which joins again: ${why}; ${remedy}`, {
      type: 'WeftWarning',
      code: 'WEFT_MEMBER_SILENT',
    })
  }

  /** The group has gone on without this member. */
  #loseAll(): void {
    this.#stable = false
    this.#membership = { group: this.options.group, id: '', generation: -1 }
    this.#assigned.clear()
    const had = this.held.length > 0
    this.#holdings.takeAllAway()
    this.#bell.ring()
    if (had && this.options.exclusive && !this.#leaving) this.#fail(this.#refusal('another member has taken over'))
  }

  /**
   * Commits offsets of partitions that are held, as the member of the current generation. FENCED if one was taken away.
   * Between two generations it waits.
   */
  async commit(claim: Claim, offsets: readonly Committing[]): Promise<void> {
    await this.asMember(claim, async membership => {
      const outcomes = await this.#cluster.coordinated('group', this.options.group, coordinator =>
        this.#cluster.control.commitOffsets(coordinator, membership, offsets),
      )
      const failure = outcomes.find(({ error }) => error !== undefined)
      if (failure) throw new KafkaError(failure.error ?? '', `committing ${nameOf(failure)}: ${failure.error}`)
    })
  }

  /** Does what only a member of the current generation may do, again for a next generation that still has the partition. */
  async asMember<T>(claim: Claim, work: (membership: Membership) => Promise<T>): Promise<T> {
    for (;;) {
      const { rings } = this.#bell
      if (claim.lost.aborted) throw this.#refusal(`partition ${claim.partition} was given to another member`)
      const membership = this.#membership
      if (!this.#stable) {
        await this.#bell.after(rings)
        continue
      }
      try {
        return await work(membership)
      } catch (error) {
        const { code } = error instanceof KafkaError ? error : { code: '' }
        if (!GONE.has(code) && code !== 'REBALANCE_IN_PROGRESS') throw weftError(error)
        if (membership !== this.#membership) continue
        // The next heartbeat tells what has become of us.
        this.#stable = false
        this.#again()
      }
    }
  }

  #refusal(why: string): WeftError {
    return new WeftError('FENCED', `group "${this.options.group}": ${why}`)
  }

  #fail(error: unknown): void {
    this.#finish.reject(error)
    void this.leave().catch(() => {})
  }

  leave(): Promise<void> {
    this.#leaving ??= this.#leave()
    return this.#leaving
  }

  async #leave(): Promise<void> {
    await undefined
    this.#holdings.giveUp()
    // Heartbeats go on until all is finished.
    await this.#holdings.allEnded()
    this.#stop.abort()
    this.#bell.ring()
    if (this.#membership.id !== '')
      await this.#cluster
        .coordinated('group', this.options.group, coordinator =>
          this.#cluster.control.leaveGroup(coordinator, this.#membership),
        )
        .catch(() => {})
    await Promise.all([this.#lane[Symbol.asyncDispose](), this.#pulse[Symbol.asyncDispose]()])
    this.#finish.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave()
  }
}

function candidateOf({ id, metadata }: { readonly id: string; readonly metadata: Uint8Array }): Candidate {
  const { topics, userData, owned } = decodeSubscription(metadata)
  const told = JSON.parse(Buffer.from(userData).toString()) as Omit<Candidate, 'id' | 'topics' | 'owned'>
  return { ...told, id, topics, owned: owned[0]?.partitions ?? [] }
}

/** A member that was left out is told nothing. */
function shareOf(assignment: Uint8Array): Pick<Share, 'refused' | 'standby'> {
  const told = userDataOf(assignment)
  return told.length > 0 ? JSON.parse(Buffer.from(told).toString()) : { refused: false, standby: [] }
}
