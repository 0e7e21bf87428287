import { Problem } from './problem.ts'

export interface Rate {
  /** Events a second, in the long run. */
  readonly rate: number
  /** Events at once. */
  readonly burst: number
}

/**
 * A token bucket a tenant. A request is taken when the bucket holds its events or is full; one larger than the bucket
 * leaves it in debt, so that a limit on the rate never makes a batch impossible.
 */
export class RateLimit {
  readonly #default: Rate
  readonly #tenants: Readonly<Record<string, Rate>>
  readonly #buckets = new Map<string, { tokens: number; at: number; rate: Rate }>()

  constructor(everybody: Rate, tenants: Readonly<Record<string, Rate>> = {}) {
    this.#default = everybody
    this.#tenants = tenants
  }

  /** Takes `events` tokens, or throws Problem rate_limited with the seconds after which they will be there. */
  take(tenant: string, events: number, now?: number): void {
    this.require(tenant, events, now).tokens -= events
  }

  /** The same without taking: what can be refused before its body is read is refused then. */
  require(tenant: string, events: number, now: number = performance.now()): { tokens: number } {
    const bucket = this.#bucket(tenant, now)
    const { rate, burst } = bucket.rate
    const missing = Math.min(events, burst) - bucket.tokens
    if (missing <= 0) return bucket
    throw new Problem('rate_limited', `${tenant} may send ${rate} events a second, ${burst} at once`, {
      retryAfter: seconds(missing / rate),
    })
  }

  #bucket(tenant: string, now: number) {
    let bucket = this.#buckets.get(tenant)
    if (!bucket) {
      const rate = (Object.hasOwn(this.#tenants, tenant) && this.#tenants[tenant]) || this.#default
      bucket = { tokens: rate.burst, at: now, rate }
      this.#buckets.set(tenant, bucket)
    }
    bucket.tokens = Math.min(
      bucket.rate.burst,
      bucket.tokens + (Math.max(0, now - bucket.at) / 1000) * bucket.rate.rate,
    )
    bucket.at = now
    return bucket
  }
}

/**
 * A bound on the bytes in flight, shared fairly: a tenant may hold as much as is left free for all (the dynamic
 * threshold of Choudhury and Hahne, 1998). One that floods gets half of it, two get a third each, and whoever comes
 * new still finds room.
 */
export class InFlight {
  readonly #maxBytes: number
  readonly #maxTenantBytes: number
  readonly #drainRate: () => number
  readonly #tenants = new Map<string, number>()
  #bytes = 0

  /** `drainRate`: bytes a second at which the log takes them. */
  constructor(maxBytes: number, maxTenantBytes: number, drainRate: () => number) {
    this.#maxBytes = maxBytes
    this.#maxTenantBytes = maxTenantBytes
    this.#drainRate = drainRate
  }

  get bytes(): number {
    return this.#bytes
  }

  of(tenant: string): number {
    return this.#tenants.get(tenant) ?? 0
  }

  /** Throws Problem overloaded, with the seconds in which the bytes in the way drain. */
  take(tenant: string, bytes: number): Lease {
    const lease = new Lease(this, tenant)
    lease.resize(bytes)
    return lease
  }

  /** Of a lease: from so many bytes to so many. */
  move(tenant: string, from: number, to: number): void {
    if (to > from) this.#admit(tenant, to - from)
    const now = this.of(tenant) + to - from
    if (now > 0) this.#tenants.set(tenant, now)
    else this.#tenants.delete(tenant)
    this.#bytes += to - from
  }

  #admit(tenant: string, more: number): void {
    const own = this.of(tenant)
    const allowed = Math.min(this.#maxTenantBytes, this.#maxBytes - this.#bytes)
    // Alone, a request may be as large as it likes: whatever passes the limit on a body passes here on an idle gateway.
    if (own + more <= allowed || this.#bytes === 0) return
    const inTheWay = own + more - Math.max(0, allowed)
    throw new Problem('overloaded', `${own} bytes of ${tenant} are in flight, and there is no room for ${more} more`, {
      retryAfter: seconds(inTheWay / Math.max(1, this.#drainRate())),
    })
  }
}

/** Bytes of one request that are in memory. */
export class Lease {
  readonly #of: InFlight
  readonly #tenant: string
  bytes = 0

  constructor(of: InFlight, tenant: string) {
    this.#of = of
    this.#tenant = tenant
  }

  /** To what it turned out to be; throws like `take`, and then the lease is as it was. */
  resize(bytes: number): void {
    this.#of.move(this.#tenant, this.bytes, bytes)
    this.bytes = bytes
  }

  /** May be called more than once. */
  release(): void {
    this.resize(0)
  }
}

/** Retry-After knows whole seconds only; a minute is as far as a measured rate tells anything. */
export const seconds = (wait: number): number => Math.min(60, Math.max(1, Math.ceil(wait)))
