import { type Auth, AuthError, type Identity, requireScope, requireTenant } from '@weft/auth'
import { Refusal } from './refusal.ts'

export type Query = Readonly<Record<string, string | string[] | undefined>>

export interface AdmissionOptions {
  readonly connectionsPerTenant?: number
  readonly maxConnections?: number
}

/** Decides who may listen to what, and how many at once. */
export class Admission {
  readonly #auth: Auth
  readonly #perTenant: number
  readonly #max: number
  readonly #taken = new Map<string, number>()
  #total = 0
  #closing = false

  constructor(auth: Auth, { connectionsPerTenant = 1_000, maxConnections = 20_000 }: AdmissionOptions = {}) {
    this.#auth = auth
    this.#perTenant = connectionsPerTenant
    this.#max = maxConnections
  }

  /** The bearer token of the header, else the query's `access_token`, which is for browsers' EventSource. */
  async identify(authorization: string | undefined, query: Query): Promise<Identity> {
    try {
      const [scheme = '', token] = authorization?.trim().split(/ +/, 2) ?? []
      if (authorization !== undefined && (scheme.toLowerCase() !== 'bearer' || !token))
        throw new AuthError('credential_invalid', 'the Authorization header must be "Bearer " and a JWT')
      const credential = token ?? one(query, 'access_token')
      if (!credential)
        throw new AuthError(
          'credential_missing',
          'send a JWT as "Authorization: Bearer …" or as access_token in the query',
        )
      const identity = await this.#auth.authenticate(credential)
      requireScope(identity, 'alerts:read')
      return identity
    } catch (error) {
      if (!(error instanceof AuthError)) throw error
      throw new Refusal(error.code, error.message, { cause: error, ...(error.retryable && { retryAfter: 5 }) })
    }
  }

  /** The tenant whose alerts are asked for; undefined for all, which only a token above tenants may see. */
  tenant(identity: Identity, query: Query): string | undefined {
    const asked = one(query, 'tenant')
    if (asked)
      try {
        requireTenant(identity, asked)
      } catch (error) {
        throw new Refusal('tenant_foreign', (error as Error).message)
      }
    return asked || (identity.tenant === '*' ? undefined : identity.tenant)
  }

  /** Counts a connection; give it back with `release`. Refuses when there are as many as may be. */
  take(account: string): void {
    if (this.#closing) throw new Refusal('shutting_down', 'this server is going away: connect again', { retryAfter: 1 })
    if (this.#total >= this.#max)
      throw new Refusal('full', `this server has its ${this.#max} connections`, { retryAfter: soon() })
    const taken = this.#taken.get(account) ?? 0
    if (taken >= this.#perTenant)
      throw new Refusal('too_many_connections', `the tenant has its ${this.#perTenant} connections: close one`, {
        retryAfter: soon(),
      })
    this.#taken.set(account, taken + 1)
    this.#total++
  }

  release(account: string): void {
    const left = (this.#taken.get(account) ?? 1) - 1
    if (left > 0) this.#taken.set(account, left)
    else this.#taken.delete(account)
    this.#total--
  }

  /** Refuses everybody from now on. */
  close(): void {
    this.#closing = true
  }
}

/** The one value of a parameter. Refuses several. */
export function one(query: Query, name: string): string | undefined {
  const value = query[name]
  if (Array.isArray(value)) throw new Refusal('invalid_request', `${name} may be given once`)
  return value
}

/** Seconds, spread so that those refused together do not come back together. */
const soon = (): number => 5 + Math.floor(Math.random() * 11)
