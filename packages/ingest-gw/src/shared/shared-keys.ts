import { randomUUID } from 'node:crypto'
import { type Answer, type IdempotencyKeys, inFlight, reused } from '../idempotency.ts'
import type { SharedConnection } from './connection.ts'

export interface SharedKeysOptions {
  readonly connection: SharedConnection
  readonly own: IdempotencyKeys
  readonly cluster: string
  readonly windowMs: number
  readonly leaseMs?: number
}

/**
 * Idempotency-Keys shared by several gateways; each keeps its own as well, which is all there is while Redis is away. The
 * ids of events follow from key and body, so what two gateways then both work on is still stored once.
 */
export class SharedKeys implements Pick<IdempotencyKeys, 'begin' | 'end'> {
  readonly #connection: SharedConnection
  readonly #own: IdempotencyKeys
  readonly #prefix: string
  readonly #windowMs: number
  readonly #leaseMs: number
  readonly #tokens = new Map<string, string>()

  constructor({ connection, own, cluster, windowMs, leaseMs = 30_000 }: SharedKeysOptions) {
    this.#connection = connection
    this.#own = own
    this.#prefix = `weft:${cluster}:`
    this.#windowMs = windowMs
    this.#leaseMs = leaseMs
  }

  async begin(tenant: string, key: string, hash: string): Promise<Answer | undefined> {
    const known = this.#own.look(tenant, key, hash)
    if (known) return known
    const token = randomUUID()
    const [state, answer] = (await this.#connection.call(redis =>
      redis.weftBeginKey(2, ...this.#keysOf(tenant, key), hash, token, this.#leaseMs, this.#windowMs),
    )) ?? [undefined]
    if (state === 1) throw reused()
    if (state === 2) return JSON.parse(answer as string)
    if (state === 3) throw inFlight()
    try {
      const own = await this.#own.begin(tenant, key, hash)
      if (own === undefined && state === 0) this.#tokens.set(`${tenant}/${key}`, token)
      else if (state === 0) await this.#end(tenant, key, hash, token, own)
      return own
    } catch (error) {
      if (state === 0) await this.#end(tenant, key, hash, token, undefined)
      throw error
    }
  }

  async end(tenant: string, key: string, hash: string, answer: Answer | undefined): Promise<void> {
    const name = `${tenant}/${key}`
    const token = this.#tokens.get(name)
    this.#tokens.delete(name)
    try {
      // Also what was begun while Redis was away.
      if (answer || token) await this.#end(tenant, key, hash, token ?? '', answer)
    } finally {
      await this.#own.end(tenant, key, hash, answer)
    }
  }

  async #end(tenant: string, key: string, hash: string, token: string, answer: Answer | undefined): Promise<void> {
    const told = answer ? JSON.stringify(answer) : ''
    await this.#connection.call(redis =>
      redis.weftEndKey(2, ...this.#keysOf(tenant, key), hash, token, this.#windowMs, told),
    )
  }

  #keysOf(tenant: string, key: string): [entry: string, lease: string] {
    return [`${this.#prefix}key:{${tenant}/${key}}`, `${this.#prefix}lease:{${tenant}/${key}}`]
  }
}
