import { hash, timingSafeEqual } from 'node:crypto'
import { AuthError, type Identity, isTenant } from './identity.ts'
import { type JwtOptions, tokenVerifier, type VerifyToken } from './token.ts'

export interface AuthOptions {
  /** Write key → tenant. A key of the form `sha256:` and 64 hex digits stands for the key that has this hash. */
  readonly writeKeys?: Readonly<Record<string, string>>
  readonly jwt?: JwtOptions
}

export interface Auth {
  /** Who has this write key or JWT. AuthError otherwise; undefined or '' is credential_missing. */
  authenticate(credential: string | undefined): Promise<Identity>
  /** The same for write keys only, at once: undefined when it is none. */
  writeKey(credential: string): Identity | undefined
}

/** Throws a plain Error that lists every fault of the options. */
export function createAuth({ writeKeys = {}, jwt }: AuthOptions): Auth {
  const faults: string[] = []
  const keys = new Map<string, { digest: Buffer; identity: Identity }>()
  for (const [key, tenant] of Object.entries(writeKeys)) {
    const digest = key.startsWith('sha256:') ? key.slice(7).toLowerCase() : hash('sha256', key)
    // A fault names the tenant or the hash: a write key is a secret and errors end up in logs.
    if (!/^[0-9a-f]{64}$/.test(digest)) faults.push(`writeKeys (of ${tenant}): sha256: takes 64 hex digits`)
    else if (key.length < 8) faults.push(`writeKeys (of ${tenant}): a key needs at least 8 characters`)
    else if (!isTenant(tenant)) faults.push(`writeKeys: ${JSON.stringify(tenant)} cannot be a tenant's id`)
    else {
      const subject = `key:${digest.slice(0, 8)}`
      keys.set(digest, { digest: Buffer.from(digest, 'hex'), identity: { tenant, subject, scopes: ['ingest'] } })
    }
  }
  let verify: VerifyToken | undefined
  try {
    verify = jwt && tokenVerifier(jwt)
  } catch (error) {
    faults.push((error as Error).message)
  }
  if (faults.length > 0) throw new Error(faults.join('\n'))

  // Those that were right before: hashing costs microseconds. A Map compares only what has the same hash, and its hash is
  // seeded anew in each process, so the time of a look tells nothing of a key that is in it.
  const right = new Map<string, Identity>()
  const writeKey = (credential: string): Identity | undefined => {
    const before = right.get(credential)
    if (before) return before
    // The index goes by the hash, which nobody can steer towards a stored one; the comparison is of constant time.
    const digest = hash('sha256', credential)
    const found = keys.get(digest)
    if (!found || !timingSafeEqual(found.digest, Buffer.from(digest, 'hex'))) return undefined
    right.set(credential, found.identity)
    return found.identity
  }
  return {
    writeKey,
    async authenticate(credential) {
      if (!credential)
        throw new AuthError('credential_missing', 'send a write key or a JWT as "Authorization: Bearer …"')
      const identity = writeKey(credential)
      if (identity) return identity
      const isToken = credential.split('.').length === 3
      if (isToken && verify) return verify(credential)
      throw new AuthError('credential_invalid', isToken ? 'JWTs are not accepted here' : 'this write key is not known')
    },
  }
}

/**
 * The credential of a request's headers (names in lower case): `Authorization: Bearer …`, else `X-Write-Key`.
 * Undefined when there is neither; AuthError credential_invalid for another scheme than Bearer.
 */
export function credentialOf(headers: Readonly<Record<string, string | string[] | undefined>>): string | undefined {
  const { authorization, 'x-write-key': key } = headers
  if (typeof authorization === 'string') {
    if (authorization.startsWith('Bearer ') && authorization.length > 7 && !authorization.includes(' ', 7))
      return authorization.slice(7)
    const [scheme = '', credential = '', rest] = authorization.trim().split(/ +/, 3)
    if (scheme.toLowerCase() === 'bearer' && credential !== '' && rest === undefined) return credential
    throw new AuthError('credential_invalid', 'the Authorization header must be "Bearer " and a write key or a JWT')
  }
  return typeof key === 'string' && key !== '' ? key : undefined
}
