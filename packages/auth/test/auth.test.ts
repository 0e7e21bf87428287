import { generateKeyPairSync, hash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, SignJWT, UnsecuredJWT } from 'jose'
import { describe, expect, test, vi } from 'vitest'
import { createAuth, credentialOf, requireScope, requireTenant, signToken } from '../src/index.ts'

const secret = 'a secret of more than thirty-two bytes'
const claims = { tenant: 'aurora', scopes: ['ingest', 'alerts:read'] } as const
const bySecret = createAuth({ jwt: { secret } })
const inAnHour = () => Math.floor(Date.now() / 1000) + 3600

describe('a write key', () => {
  const auth = createAuth({
    writeKeys: { wk_aurora_demo: 'aurora', [`sha256:${hash('sha256', 'wk_birch_demo')}`]: 'birch' },
  })

  test('names its tenant, may only ingest and never expires', async () => {
    expect(await auth.authenticate('wk_aurora_demo')).toEqual({
      tenant: 'aurora',
      subject: `key:${hash('sha256', 'wk_aurora_demo').slice(0, 8)}`,
      scopes: ['ingest'],
    })
  })

  test('may be configured by its hash alone', async () => {
    expect((await auth.authenticate('wk_birch_demo')).tenant).toBe('birch')
  })

  test.each([
    ['a key nobody has', 'wk_aurora_demo2', 'credential_invalid'],
    ['the hash itself', `sha256:${hash('sha256', 'wk_birch_demo')}`, 'credential_invalid'],
    ['an empty key', '', 'credential_missing'],
    ['a property of every object', '__proto__', 'credential_invalid'],
    ['a JWT where none are accepted', 'a.b.c', 'credential_invalid'],
  ])('is refused when it is %s', async (_, key, code) => {
    await expect(auth.authenticate(key)).rejects.toMatchObject({ name: 'AuthError', status: 401, code })
  })

  test('is not repeated in the faults of a configuration, which are all listed', () => {
    const make = () => createAuth({ writeKeys: { wk_secret_1: 'no tenant', short: 'a', 'sha256:zz': 'b' }, jwt: {} })
    expect(make).toThrow(
      /"no tenant" cannot be a tenant's id\n.*at least 8 characters\n.*64 hex digits\njwt: give exactly one/,
    )
    expect(make).not.toThrow(/wk_secret_1|short/)
  })
})

describe('a token signed with the shared secret', () => {
  test('gives tenant, subject, scopes and the instant it expires', async () => {
    const token = await signToken(secret, { ...claims, subject: 'tracker', expiresIn: 60 })
    const identity = await bySecret.authenticate(token)
    expect(identity).toMatchObject({ tenant: 'aurora', subject: 'tracker', scopes: ['ingest', 'alerts:read'] })
    expect(Math.abs((identity.expiresAt ?? 0) - Date.now() - 60_000)).toBeLessThan(5000)
  })

  test('is refused once it has expired, beyond the tolerance for clocks that differ', async () => {
    const token = await signToken(secret, { ...claims, expiresIn: -10 })
    await expect(bySecret.authenticate(token)).rejects.toMatchObject({ status: 401, code: 'token_expired' })
    expect(await createAuth({ jwt: { secret, clockTolerance: 60 } }).authenticate(token)).toMatchObject({
      tenant: 'aurora',
    })
  })

  test('is refused once it has expired though it was good before', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const token = await signToken(secret, { ...claims, expiresIn: 10 })
      expect((await bySecret.authenticate(token)).tenant).toBe('aurora')
      vi.setSystemTime(Date.now() + 9000)
      expect((await bySecret.authenticate(token)).tenant).toBe('aurora')
      vi.setSystemTime(Date.now() + 10_000)
      await expect(bySecret.authenticate(token)).rejects.toMatchObject({ code: 'token_expired' })
    } finally {
      vi.useRealTimers()
    }
  })

  test('is refused before its time', async () => {
    const token = await new SignJWT({ tenant: 'a', nbf: inAnHour() })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(inAnHour() + 60)
      .sign(Buffer.from(secret))
    await expect(bySecret.authenticate(token)).rejects.toMatchObject({ code: 'token_not_yet_valid' })
  })

  test('is refused when another secret signed it or a byte was changed', async () => {
    const token = await signToken(secret, claims)
    const [head, , signature] = token.split('.')
    const other = Buffer.from(JSON.stringify({ tenant: 'birch', scope: 'admin', exp: inAnHour() })).toString(
      'base64url',
    )
    for (const forged of [await signToken(secret.replace('a', 'b'), claims), `${head}.${other}.${signature}`])
      await expect(bySecret.authenticate(forged)).rejects.toMatchObject({ status: 401, code: 'token_signature' })
  })

  test('must be for our audience and from our issuer', async () => {
    const auth = createAuth({ jwt: { secret, issuer: 'https://id.example', audience: 'weft' } })
    const right = { ...claims, issuer: 'https://id.example', audience: 'weft' }
    expect(await auth.authenticate(await signToken(secret, right))).toMatchObject({ tenant: 'aurora' })
    for (const wrong of [{ ...right, issuer: 'https://evil.example' }, { ...right, audience: 'other' }, claims])
      await expect(signToken(secret, wrong).then(auth.authenticate)).rejects.toMatchObject({ code: 'token_claim' })
  })

  test.each([
    ['no tenant', { scope: 'ingest', exp: inAnHour() }],
    ['a tenant that is no name', { tenant: 'a:b', exp: inAnHour() }],
    ['a tenant that is no text', { tenant: ['aurora'], exp: inAnHour() }],
    ['no expiry', { tenant: 'aurora' }],
  ])('is refused with %s', async (_, payload) => {
    const token = await new SignJWT(payload).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(secret))
    await expect(bySecret.authenticate(token)).rejects.toMatchObject({ status: 401, code: 'token_claim' })
  })

  test('has only the scopes that exist', async () => {
    const token = await new SignJWT({ tenant: '*', scopes: ['alerts:read', 'root', 7] })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(inAnHour())
      .sign(Buffer.from(secret))
    expect(await bySecret.authenticate(token)).toMatchObject({ tenant: '*', scopes: ['alerts:read'] })
  })
})

describe('algorithms are pinned by the kind of key', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const byPem = createAuth({ jwt: { publicKey: pem } })

  test('alg none is never accepted', async () => {
    const token = new UnsecuredJWT({ ...claims }).setExpirationTime(inAnHour()).encode()
    for (const auth of [bySecret, byPem])
      await expect(auth.authenticate(token)).rejects.toMatchObject({ status: 401, name: 'AuthError' })
    expect(() => createAuth({ jwt: { secret, algorithms: ['none'] } })).toThrow(/none does not go with this key/)
  })

  test('a public key does not serve as the secret of HS256', async () => {
    const token = await signToken(pem, claims)
    await expect(byPem.authenticate(token)).rejects.toMatchObject({ code: 'token_algorithm' })
    expect(() => createAuth({ jwt: { publicKey: pem, algorithms: ['HS256'] } })).toThrow(/HS256 does not go with/)
  })

  test.each(['rsa', 'ec', 'ed25519'])('a public key in PEM verifies what its private half signed: %s', async kind => {
    const pair =
      kind === 'rsa'
        ? { publicKey, privateKey }
        : kind === 'ec'
          ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
          : generateKeyPairSync('ed25519')
    const alg = { rsa: 'RS256', ec: 'ES256', ed25519: 'EdDSA' }[kind] ?? ''
    const auth = createAuth({ jwt: { publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString() } })
    const token = await new SignJWT({ tenant: 'birch', scope: 'ingest' })
      .setProtectedHeader({ alg })
      .setExpirationTime(inAnHour())
      .sign(pair.privateKey)
    expect(await auth.authenticate(token)).toMatchObject({ tenant: 'birch', scopes: ['ingest'] })
  })

  test('a key set from a URL verifies, and one that cannot be fetched is a fault of ours, not of the caller', async () => {
    const set = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }] }
    const server = createServer((_, response) => response.end(JSON.stringify(set)))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
    const sign = (kid: string) =>
      new SignJWT({ tenant: 'cobalt' })
        .setProtectedHeader({ alg: 'RS256', kid })
        .setExpirationTime('1h')
        .sign(privateKey)
    const auth = createAuth({ jwt: { jwksUrl } })
    expect(await auth.authenticate(await sign('one'))).toMatchObject({ tenant: 'cobalt' })
    await expect(sign('two').then(auth.authenticate)).rejects.toMatchObject({ status: 401, code: 'token_signature' })
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
    await expect(createAuth({ jwt: { jwksUrl } }).authenticate(await sign('one'))).rejects.toMatchObject({
      status: 503,
      code: 'keys_unavailable',
      retryable: true,
    })
  })

  test.each([
    ['a short secret', { secret: 'short' }, /at least 32 bytes/],
    ['a private key', { publicKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }, /private key/],
    ['what is no PEM', { publicKey: 'ssh-rsa AAAA' }, /not a public key in PEM/],
    ['a key set over plain http', { jwksUrl: 'http://id.example/jwks' }, /not an https URL/],
    ['two kinds at once', { secret, jwksUrl: 'https://id.example/jwks' }, /exactly one/],
    ['no algorithm', { secret, algorithms: [] }, /none does not go/],
  ])('refuses to start with %s', (_, jwt, message) => {
    expect(() => createAuth({ jwt })).toThrow(message)
  })

  test.each(['a.b.c', '..', 'eyJhbGciOiJIUzI1NiJ9..', `${'x'.repeat(10_000)}.y.z`, 'ÿ.ÿ.ÿ'])(
    'garbage in the shape of a token is 401: %#',
    async token => {
      await expect(bySecret.authenticate(token)).rejects.toMatchObject({ name: 'AuthError', status: 401 })
    },
  )
})

describe('a credential in a request', () => {
  test('comes as a bearer token or in X-Write-Key', () => {
    expect(credentialOf({ authorization: 'Bearer wk_1' })).toBe('wk_1')
    expect(credentialOf({ authorization: 'bearer  wk_1 ' })).toBe('wk_1')
    expect(credentialOf({ 'x-write-key': 'wk_2' })).toBe('wk_2')
    expect(credentialOf({})).toBeUndefined()
  })

  test.each(['Basic YTpi', 'Bearer', 'Bearer a b', ''])('is refused in the Authorization header %j', authorization => {
    expect(() => credentialOf({ authorization })).toThrow(/must be "Bearer "/)
  })

  test('allows what its scopes and its tenant say, and admin and * everything', () => {
    const reader = { tenant: 'aurora', subject: 's', scopes: ['alerts:read'] } as const
    expect(() => requireScope(reader, 'ingest')).toThrow(
      expect.objectContaining({ status: 403, code: 'scope_missing' }),
    )
    expect(() => requireTenant(reader, 'birch')).toThrow(
      expect.objectContaining({ status: 403, code: 'tenant_foreign' }),
    )
    requireScope({ ...reader, scopes: ['admin'] }, 'ingest')
    requireTenant({ ...reader, tenant: '*' }, 'birch')
  })
})
