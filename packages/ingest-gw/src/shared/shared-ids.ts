import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Claim, ClaimState, SeenEvents } from '../seen.ts'
import type { SharedConnection } from './connection.ts'
import { Gather } from './gather.ts'

export interface SharedIdsOptions {
  readonly connection: SharedConnection
  /** What this gateway knows by itself: from the log, and of what is under way here. */
  readonly own: SeenEvents
  /** Parts the ids of one log from those of another in the same Redis. */
  readonly cluster: string
  readonly windowMs: number
  readonly leaseMs?: number
}

/** So long a request waits for another gateway to tell how its append of the same id ended. */
const WAIT_MS = 5000
const STORED = 's'
const STATES = ['fresh', 'seen', 'pending'] as const

interface Ask {
  readonly key: string
  /** A token, or that it is stored. */
  readonly as: string
}

/**
 * Event ids shared by several gateways. An id is reserved in Redis before its append, for a short lease, and known as
 * stored only behind it. Without Redis each gateway goes on with what it knows itself: what others stored some moments
 * ago may then be stored again, and the validate stage drops the second.
 */
export class SharedIds implements SeenEvents {
  readonly #own: SeenEvents
  readonly #connection: SharedConnection
  readonly #prefix: string
  readonly #claims: Gather<Ask, number>
  readonly #settles: Gather<Ask, number>
  readonly #process = randomUUID()
  #count = 0

  constructor({ connection, own, cluster, windowMs, leaseMs = 30_000 }: SharedIdsOptions) {
    this.#own = own
    this.#connection = connection
    this.#prefix = `weft:${cluster}:event:`
    const call = (asks: readonly Ask[], ms: number) =>
      [asks.length, ...asks.map(({ key }) => key), ms, ...asks.map(({ as }) => as)] as const
    this.#claims = new Gather(asks => connection.call(redis => redis.weftClaim(...call(asks, leaseMs))))
    this.#settles = new Gather(async asks => {
      await connection.call(redis => redis.weftSettle(...call(asks, windowMs)))
      return undefined
    })
  }

  claim(tenants: readonly string[], ids: readonly string[]): Claim | Promise<Claim> {
    return this.#connection.isUp ? this.#claim(tenants, ids) : this.#own.claim(tenants, ids)
  }

  async #claim(tenants: readonly string[], ids: readonly string[]): Promise<Claim> {
    const token = `${this.#process}:${this.#count++}`
    const keys = ids.map((id, at) => `${this.#prefix}${tenants[at]}/${id}`)
    const shared = await this.#claims.ask(keys.map(key => ({ key, as: token })))
    if (!shared) return this.#own.claim(tenants, ids)
    // What nobody else has is asked here: the log may have what Redis has lost.
    const reserved = [...ids.keys()].filter(at => shared[at] === 0)
    const own = await this.#own.claim(
      reserved.map(at => tenants[at] as string),
      reserved.map(at => ids[at] as string),
    )
    const states: ClaimState[] = shared.map(state => STATES[state] as ClaimState)
    const adopt = (of: readonly ClaimState[]) => {
      for (const [n, at] of reserved.entries()) states[at] = of[n] as ClaimState
      this.#settle(reserved.filter((_, n) => of[n] === 'seen').map(at => ({ key: keys[at] as string, as: STORED })))
    }
    adopt(own.states)
    const fresh = keys.filter((_, at) => states[at] === 'fresh')
    const elsewhere = [...ids.keys()].filter(at => shared[at] === 2)
    return {
      states,
      settled: async () => {
        if (own.states.includes('pending')) adopt(await own.settled())
        if (elsewhere.length > 0) await this.#await(elsewhere, keys, states)
        return states
      },
      stored: positions => {
        own.stored(positions)
        this.#settle(fresh.map(key => ({ key, as: STORED })))
      },
      failed: () => {
        own.failed()
        this.#settle(fresh.map(key => ({ key, as: token })))
      },
    }
  }

  /** Nobody waits for it: the answer is true without, and what Redis misses of it the log tells. */
  #settle(asks: readonly Ask[]): void {
    if (asks.length > 0 && this.#connection.isUp) void this.#settles.ask(asks)
  }

  /** Until the other gateway has told, or its lease is over. */
  async #await(waiting: readonly number[], keys: readonly string[], states: ClaimState[]): Promise<void> {
    const until = performance.now() + WAIT_MS
    let left = waiting
    for (let pause = 10; left.length > 0; pause = Math.min(200, pause * 2)) {
      const held = await this.#connection.call(redis => redis.mget(left.map(at => keys[at] as string)))
      const over = !held || performance.now() > until
      const still: number[] = []
      for (const [n, at] of left.entries()) {
        const value = held?.[n]
        if (value === STORED) states[at] = 'seen'
        else if (value && !over) still.push(at)
        else states[at] = 'failed'
      }
      left = still
      if (left.length > 0) await delay(pause)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#settles.idle()
  }
}
