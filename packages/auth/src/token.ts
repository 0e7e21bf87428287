import { createPublicKey, createSecretKey, hash, type KeyObject } from 'node:crypto'
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from 'jose'
import { AuthError, type Identity, isTenant, type Scope } from './identity.ts'

/** Exactly one of secret, publicKey and jwksUrl. */
export interface JwtOptions {
  /** Shared secret of at least 32 bytes (RFC 7518, 3.2): HS256 only, unless `algorithms` names other HS ones. */
  readonly secret?: string
  /** SPKI or certificate in PEM: RSA, EC or Ed25519. */
  readonly publicKey?: string
  /** JSON Web Key Set; https, or http on loopback. Asymmetric algorithms only. */
  readonly jwksUrl?: string
  readonly issuer?: string | string[]
  readonly audience?: string | string[]
  /** Narrows what the kind of key allows; naming one of another kind is refused. */
  readonly algorithms?: readonly string[]
  /** Seconds by which clocks may differ, for exp and nbf. Default 5. */
  readonly clockTolerance?: number
}

export type VerifyToken = (token: string) => Promise<Identity>

const SCOPES: readonly Scope[] = ['ingest', 'alerts:read', 'admin']
const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const CURVES: Record<string, string> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }

/** Throws a plain Error for options that cannot be right; the function it returns throws AuthError. */
export function tokenVerifier(options: JwtOptions): VerifyToken {
  const { issuer, audience, clockTolerance = 5 } = options
  const { key, allowed } = keyOf(options)
  const algorithms = options.algorithms ? [...options.algorithms] : allowed.preferred
  const foreign = algorithms.filter(algorithm => !allowed.possible.includes(algorithm))
  if (foreign.length > 0 || algorithms.length === 0)
    throw new Error(
      `jwt.algorithms: ${foreign.join(', ') || 'none'} does not go with this key; possible are ${allowed.possible.join(', ')}`,
    )
  const checks = { algorithms, clockTolerance, requiredClaims: ['exp', 'tenant'], ...pick({ issuer, audience }) }
  return remembered(async token => {
    try {
      // jose's overloads part a key from a function that finds one.
      const { payload } =
        typeof key === 'function' ? await jwtVerify(token, key, checks) : await jwtVerify(token, key, checks)
      return identityOf(payload)
    } catch (error) {
      throw toAuthError(error)
    }
  })
}

/** How long a good token is not verified again: a key that is withdrawn stays good for as long. */
const REMEMBER_MS = 30_000
const REMEMBER = 10_000

/** A tracker sends one token with every request; verifying it takes longer than all else that is done with one event. */
function remembered(verify: VerifyToken): VerifyToken {
  const good = new Map<string, { readonly identity: Identity; readonly until: number }>()
  return async token => {
    const digest = hash('sha256', token)
    const now = Date.now()
    const known = good.get(digest)
    if (known && now < known.until) return known.identity
    good.delete(digest)
    const identity = await verify(token)
    const [oldest] = good.keys()
    if (good.size >= REMEMBER && oldest !== undefined) good.delete(oldest)
    good.set(digest, { identity, until: Math.min(now + REMEMBER_MS, identity.expiresAt ?? 0) })
    return identity
  }
}

interface Allowed {
  readonly possible: string[]
  readonly preferred: string[]
}

function keyOf({ secret, publicKey, jwksUrl }: JwtOptions): { key: KeyObject | JWTVerifyGetKey; allowed: Allowed } {
  if ([secret, publicKey, jwksUrl].filter(given => given !== undefined).length !== 1)
    throw new Error('jwt: give exactly one of secret, publicKey and jwksUrl')
  if (secret !== undefined) {
    if (Buffer.byteLength(secret) < 32) throw new Error('jwt.secret: at least 32 bytes are needed for HS256')
    return {
      key: createSecretKey(secret, 'utf8'),
      allowed: { possible: ['HS256', 'HS384', 'HS512'], preferred: ['HS256'] },
    }
  }
  if (publicKey !== undefined) {
    const key = publicKeyOf(publicKey)
    const possible = algorithmsOf(key)
    return { key, allowed: { possible, preferred: possible } }
  }
  const possible = [...RSA, ...Object.values(CURVES), 'EdDSA', 'Ed25519']
  return { key: createRemoteJWKSet(jwksAddress(jwksUrl ?? '')), allowed: { possible, preferred: possible } }
}

function publicKeyOf(pem: string): KeyObject {
  // createPublicKey would derive a public key from a private one: whoever pastes that has leaked it.
  if (/PRIVATE KEY/.test(pem)) throw new Error('jwt.publicKey: this is a private key; give its public half')
  try {
    return createPublicKey(pem)
  } catch (cause) {
    throw new Error('jwt.publicKey: not a public key in PEM (-----BEGIN PUBLIC KEY-----)', { cause })
  }
}

function algorithmsOf(key: KeyObject): string[] {
  if (key.asymmetricKeyType === 'rsa') return RSA
  if (key.asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519']
  const curve = CURVES[key.asymmetricKeyDetails?.namedCurve ?? '']
  if (curve) return [curve]
  throw new Error(`jwt.publicKey: a key of type ${key.asymmetricKeyType} verifies no JWT; use RSA, EC or Ed25519`)
}

function jwksAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const loopback = url && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback)) return url
  throw new Error(`jwt.jwksUrl: ${JSON.stringify(text)} is not an https URL`)
}

const pick = (given: { issuer?: string | string[]; audience?: string | string[] }) =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))

function identityOf(payload: JWTPayload): Identity {
  const tenant = payload.tenant
  if (tenant !== '*' && !isTenant(tenant))
    throw new AuthError('token_claim', 'claim "tenant" must be the id of a tenant: letters, digits, "." "_" "-"')
  return {
    tenant,
    subject: typeof payload.sub === 'string' && payload.sub !== '' ? payload.sub : `tenant:${tenant}`,
    scopes: scopesOf(payload),
    expiresAt: (payload.exp as number) * 1000,
  }
}

/** `scope` is a list parted by blanks (RFC 8693, 4.2); `scopes` an array. Names that are not ours are left out. */
function scopesOf(payload: JWTPayload): Scope[] {
  const named = typeof payload.scope === 'string' ? payload.scope.split(' ') : payload.scopes
  return Array.isArray(named) ? SCOPES.filter(scope => named.includes(scope)) : []
}

function toAuthError(error: unknown): AuthError {
  if (error instanceof AuthError) return error
  if (error instanceof errors.JWTExpired) return new AuthError('token_expired', 'the token has expired')
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'nbf') return new AuthError('token_not_yet_valid', 'the token is not valid yet')
    return new AuthError(
      'token_claim',
      `claim ${JSON.stringify(error.claim)} is missing or is not what is expected here`,
    )
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return new AuthError('token_algorithm', "the token's algorithm is not accepted here")
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey)
    return new AuthError('token_signature', 'the token was not signed by a key that is trusted here')
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid)
    return new AuthError('token_malformed', 'the token is not a signed JWT')
  if (error instanceof errors.JOSENotSupported)
    return new AuthError('token_algorithm', "the token's algorithm is not accepted here")
  return new AuthError('keys_unavailable', 'the keys that verify tokens cannot be had at the moment', { cause: error })
}

export interface TokenClaims {
  readonly tenant: string
  readonly scopes: readonly Scope[]
  readonly subject?: string
  /** Seconds from now, may be below zero for a test. Default one hour. */
  readonly expiresIn?: number
  readonly issuer?: string
  readonly audience?: string
}

/** A token of HS256, for development and tests: in production an identity provider issues them. */
export function signToken(secret: string, claims: TokenClaims): Promise<string> {
  const { tenant, scopes, subject = `tenant:${tenant}`, expiresIn = 3600, issuer, audience } = claims
  const now = Math.floor(Date.now() / 1000)
  const token = new SignJWT({ tenant, scope: scopes.join(' ') })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(subject)
    .setIssuedAt(now)
    .setExpirationTime(now + expiresIn)
  if (issuer) token.setIssuer(issuer)
  if (audience) token.setAudience(audience)
  return token.sign(createSecretKey(secret, 'utf8'))
}
