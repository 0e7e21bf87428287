/** What a caller may do. ingest: send events; alerts:read: read alerts; admin: both, and what concerns operation. */
export type Scope = 'ingest' | 'alerts:read' | 'admin'

/** Who calls. `tenant` is a store's id, or `*` for a token that stands above tenants. */
export interface Identity {
  readonly tenant: string
  /** A JWT's `sub`; of a write key `key:` and the first 8 hex digits of its SHA-256, fit for a log. */
  readonly subject: string
  readonly scopes: readonly Scope[]
  /** Milliseconds since the epoch after which the credential is no longer good; undefined for write keys. */
  readonly expiresAt?: number
}

/** Stable: clients may branch on them. */
export type AuthCode =
  | 'credential_missing'
  | 'credential_invalid'
  | 'token_malformed'
  | 'token_algorithm'
  | 'token_signature'
  | 'token_expired'
  | 'token_not_yet_valid'
  | 'token_claim'
  | 'scope_missing'
  | 'tenant_foreign'
  | 'keys_unavailable'

const STATUS: Record<AuthCode, 401 | 403 | 503> = {
  credential_missing: 401,
  credential_invalid: 401,
  token_malformed: 401,
  token_algorithm: 401,
  token_signature: 401,
  token_expired: 401,
  token_not_yet_valid: 401,
  token_claim: 401,
  scope_missing: 403,
  tenant_foreign: 403,
  keys_unavailable: 503,
}

/** Its message is made for the client: it tells what is wrong with the credential and never repeats it. */
export class AuthError extends Error {
  override readonly name = 'AuthError'
  readonly code: AuthCode
  /** 401 for a bad credential, 403 for a good one that may not do this, 503 when it could not be checked. */
  readonly status: 401 | 403 | 503
  readonly retryable: boolean
  constructor(code: AuthCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.code = code
    this.status = STATUS[code]
    this.retryable = this.status === 503
  }
}

/** A tenant's id goes into record keys before a colon, into URLs and into topic names. */
const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

export const isTenant = (name: unknown): name is string => typeof name === 'string' && TENANT.test(name)

/** AuthError scope_missing unless the identity has that scope, or `admin`. */
export function requireScope(identity: Identity, scope: Scope): void {
  if (identity.scopes.includes(scope) || identity.scopes.includes('admin')) return
  throw new AuthError('scope_missing', `this credential has no scope "${scope}"`)
}

/** AuthError tenant_foreign unless the identity may speak for that tenant. */
export function requireTenant(identity: Identity, tenant: string): void {
  if (identity.tenant === tenant || identity.tenant === '*') return
  throw new AuthError('tenant_foreign', `this credential is not for the tenant ${JSON.stringify(tenant)}`)
}
