import { backoff, pause } from '../backoff.ts'
import { WeftError } from '../transport.ts'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription, userDataOf } from './assignment.ts'
import { assign, type Candidate } from './assignor.ts'
import { Bell } from './bell.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { type Committing, KafkaError, type Lane, type Membership } from './driver.ts'
import { isPassing, weftError } from './errors.ts'

export interface MemberOptions {
  readonly group: string
  /** Kafka's names; all have as many partitions. */
  readonly topics: readonly string[]
  readonly partitions: number
  readonly exclusive: boolean
  readonly sessionMs: number
  /** How long the others wait for a member that does not answer when the group changes. */
  readonly rebalanceMs: number
}

/** A partition that the group has given to this member. */
export interface Claim {
  readonly partition: number
  /** Aborts when it is to be given up: what is under way may be finished and committed. */
  readonly signal: AbortSignal
  /** Aborts when it was taken away: nothing can be committed any more. */
  readonly lost: AbortSignal
  readonly since: number
}

interface Holding extends Claim {
  readonly giveUp: AbortController
  readonly takeAway: AbortController
  readonly served: Promise<void>
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
  readonly #serve: (claim: Claim) => Promise<void>
  readonly #held = new Map<number, Holding>()
  readonly #assigned = new Set<number>()
  readonly #stop = new AbortController()
  readonly #bell = new Bell()
  readonly #since = Date.now()
  readonly #finish = Promise.withResolvers<void>()
  #membership: Membership
  /** In the group with this generation, between joining and the next rebalance. */
  #stable = false
  #rejoin = false
  #leaving: Promise<void> | undefined

  constructor(cluster: Cluster, options: MemberOptions, serve: (claim: Claim) => Promise<void>) {
    this.#cluster = cluster
    this.options = options
    this.#serve = serve
    // Whoever joins is answered when all have joined.
    this.#lane = cluster.driver.lane({ timeoutMs: options.rebalanceMs + 5_000 })
    this.#pulse = cluster.driver.lane({ timeoutMs: Math.max(500, options.sessionMs / 3) })
    this.#membership = { group: options.group, id: '', generation: -1 }
    this.done = this.#finish.promise
    this.done.catch(() => {})
    void this.#run()
  }

  get held(): readonly Claim[] {
    return [...this.#held.values()]
  }

  async #run(): Promise<void> {
    let failures = 0
    while (!this.#stop.signal.aborted) {
      try {
        await this.#join()
        failures = 0
        await this.#stay()
      } catch (error) {
        if (error instanceof KafkaError && GONE.has(error.code)) this.#loseAll()
        else if (!(isPassing(error) || (error instanceof KafkaError && error.code === 'REBALANCE_IN_PROGRESS')))
          this.#fail(weftError(error))
        await pause(Math.min(1_000, 10 * 2 ** failures++), this.#stop.signal)
      }
    }
  }

  async #join(): Promise<void> {
    const { group, topics, sessionMs, rebalanceMs } = this.options
    this.#stable = false
    this.#rejoin = false
    await this.#lostOnes()
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
      for (const [id, { partitions, refused }] of assign(joined.members.map(candidateOf))) {
        const subscribed = joined.members.find(each => each.id === id)
        const own = subscribed ? decodeSubscription(subscribed.metadata).topics : topics
        const assigned = own.map(topic => ({ topic, partitions }))
        assignments.set(id, encodeAssignment(assigned, Uint8Array.of(refused ? 1 : 0)))
      }
    const assignment = await this.#cluster.coordinated(
      'group',
      group,
      coordinator => this.#lane.syncGroup(coordinator, membership, PROTOCOL, assignments),
      { signal: this.#stop.signal },
    )
    if (this.#stop.signal.aborted) return
    this.#membership = membership
    if (userDataOf(assignment)[0] === 1) {
      this.#fail(this.#refusal('another member has it'))
      return
    }
    this.#apply(new Set(decodeAssignment(assignment)[0]?.partitions))
  }

  #subscription(): Uint8Array {
    const { topics, partitions, exclusive } = this.options
    const owned = [...this.#held.keys()].sort((a, b) => a - b)
    const userData = Buffer.from(JSON.stringify({ partitions, exclusive, since: this.#since }))
    return encodeSubscription({ topics, userData, owned: topics.map(topic => ({ topic, partitions: owned })) })
  }

  #apply(assigned: ReadonlySet<number>): void {
    this.#assigned.clear()
    for (const partition of assigned) this.#assigned.add(partition)
    for (const [partition, { giveUp }] of this.#held) if (!assigned.has(partition)) giveUp.abort()
    this.#stable = true
    if (!this.#leaving) for (const partition of assigned) if (!this.#held.has(partition)) this.#hold(partition)
    this.#bell.ring()
  }

  #hold(partition: number): void {
    const [giveUp, takeAway] = [new AbortController(), new AbortController()]
    const claim = { partition, signal: giveUp.signal, lost: takeAway.signal, since: Date.now() }
    const served = (async () => {
      for (let tries = 1; ; tries++) {
        try {
          await this.#serve(claim)
          break
        } catch (error) {
          if (takeAway.signal.aborted && error instanceof WeftError && error.code === 'FENCED') break
          // What passes makes it begin again from where the group is.
          const reason = weftError(error)
          const passing = reason instanceof WeftError && reason.retryable
          if (!passing) this.#fail(reason)
          if (!passing || !(await pause(backoff(tries, { maxMs: 2_000 }), giveUp.signal))) break
        }
      }
      this.#held.delete(partition)
      if (this.#leaving || takeAway.signal.aborted) return
      // Whoever is to have it next waits for that.
      if (this.#assigned.has(partition) && this.#stable) this.#hold(partition)
      else this.#again()
    })()
    this.#held.set(partition, { ...claim, giveUp, takeAway, served })
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
      } catch (error) {
        if (error instanceof KafkaError && error.code === 'REBALANCE_IN_PROGRESS') return
        if (!isPassing(error)) throw error
      }
      await this.#bell.after(rings, Math.min(3_000, sessionMs / 5))
    }
  }

  /** The group has gone on without this member. */
  #loseAll(): void {
    this.#stable = false
    this.#membership = { group: this.options.group, id: '', generation: -1 }
    this.#assigned.clear()
    const had = this.#held.size > 0
    for (const { giveUp, takeAway } of this.#held.values()) {
      takeAway.abort()
      giveUp.abort()
    }
    this.#bell.ring()
    if (had && this.options.exclusive && !this.#leaving) this.#fail(this.#refusal('another member has taken over'))
  }

  /** What was taken away must have ended before the member asks for more. */
  async #lostOnes(): Promise<void> {
    const lost = [...this.#held.values()].filter(each => each.lost.aborted)
    await Promise.all(lost.map(({ served }) => served))
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
    for (const { giveUp } of this.#held.values()) giveUp.abort()
    // Heartbeats go on until all is finished.
    while (this.#held.size > 0) await Promise.all([...this.#held.values()].map(({ served }) => served))
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
  const { partitions, exclusive, since } = JSON.parse(Buffer.from(userData).toString()) as Candidate
  return { id, topics, partitions, exclusive, since, owned: owned[0]?.partitions ?? [] }
}
