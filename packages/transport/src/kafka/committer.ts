import { pause } from '../backoff.ts'
import { WeftError } from '../transport.ts'
import { type Cluster, nameOf } from './cluster.ts'
import type { Settled } from './cursor.ts'
import type { Place } from './driver.ts'
import { isFencing, weftError } from './errors.ts'
import type { Claim } from './holdings.ts'
import type { Member } from './member.ts'
import { positionsOf } from './positions.ts'
import { merged, type Output, type TransactionalProducer, UnknownOutcome, type Written } from './producer.ts'

/** What one partition's transaction is to make visible together. */
export interface Work {
  readonly claim: Claim
  readonly outputs: readonly Output[]
  readonly offsets: readonly Settled[]
}

interface Waiting extends Work {
  readonly resolve: (written: Written) => void
  readonly reject: (error: unknown) => void
}

/**
 * Commits a member's transactions, with one producer: what is ready while a transaction of Kafka ends goes together into
 * the next. Of several partitions that share one, all become visible together or none, which is more than was promised.
 */
export class Committer {
  readonly #cluster: Cluster
  readonly #member: Member
  readonly #producer: TransactionalProducer
  readonly #waiting: Waiting[] = []
  #running: Promise<void> | undefined
  #count = 0

  constructor(cluster: Cluster, member: Member, producer: TransactionalProducer) {
    this.#cluster = cluster
    this.#member = member
    this.#producer = producer
  }

  /** FENCED if the partition was taken away; UNAVAILABLE if nothing of it happened and it may be tried again. */
  commit(work: Work): Promise<Written> {
    const { promise, resolve, reject } = Promise.withResolvers<Written>()
    this.#waiting.push({ ...work, resolve, reject })
    this.#running ??= this.#drain()
    return promise
  }

  async #drain(): Promise<void> {
    await undefined
    while (this.#waiting.length > 0) await this.#attempt(this.#waiting.splice(0))
    this.#running = undefined
  }

  async #attempt(works: readonly Waiting[]): Promise<void> {
    const live = works.filter(({ claim, reject }) => {
      if (claim.lost.aborted)
        reject(new WeftError('FENCED', `partition ${claim.partition} was given to another member`))
      return !claim.lost.aborted
    })
    if (live.length === 0) return
    try {
      const written = await this.#run(live)
      for (const { resolve } of live) resolve(written)
    } catch (error) {
      const reason = isFencing(error)
        ? // Whether this member still has its partitions, its group says, and not the producer's epoch.
          new WeftError('UNAVAILABLE', `a transaction took too long or was ended by another: ${error.message}`, {
            cause: error,
          })
        : weftError(error)
      const own = reason instanceof WeftError && (reason.retryable || reason.code === 'FENCED')
      // What Kafka refuses for what it is must not take its neighbours along.
      if (!own && live.length > 1) for (const each of live) await this.#attempt([each])
      else for (const { reject } of live) reject(reason)
    }
  }

  async #run(works: readonly Waiting[]): Promise<Written> {
    if (!this.#producer.ready) await this.#producer.begin()
    const metadata = `${this.#producer.id}#${++this.#count}`
    const offsets = works.flatMap(work => work.offsets.map(place => ({ ...place, metadata })))
    const [first] = works as [Waiting]
    try {
      return await this.#producer.run(merged(works.flatMap(work => work.outputs)), {
        group: this.#member.options.group,
        offsets,
        asMember: work => this.#member.asMember(first.claim, work),
      })
    } catch (error) {
      if (!(error instanceof UnknownOutcome)) throw error
      const committed = await this.#committed(offsets[0] as Place, metadata, works).catch(cause => {
        throw new WeftError('UNAVAILABLE', error.message, { cause: new UnknownOutcome(error.written, cause) })
      })
      if (committed) return error.written
      throw new WeftError('UNAVAILABLE', 'a transaction was taken back', { cause: error })
    }
  }

  /**
   * Whether a transaction with an unknown outcome was committed. Beginning anew ends it one way or the other; then the
   * group's position says who put it where it is.
   */
  async #committed(place: Place, metadata: string, works: readonly Work[]): Promise<boolean> {
    for (let tries = 0; ; tries++) {
      try {
        await this.#producer.begin()
        const positions = await positionsOf(this.#cluster, this.#member.options.group, [place])
        return positions.get(nameOf(place))?.metadata === metadata
      } catch (error) {
        const left = works.find(({ claim }) => !claim.signal.aborted)
        if (!left) throw error
        await pause(Math.min(1_000, 50 * 2 ** tries), left.claim.signal)
      }
    }
  }
}
