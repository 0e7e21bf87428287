import { brotliCompressSync, gzipSync } from 'node:zlib'
import { createAuth } from '@weft/auth'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { logged, pageView, send, token, type World, world } from './fixture.ts'

let it: World
beforeAll(async () => {
  it = await world({ limits: { maxBodyBytes: 20_000, maxDecodedBytes: 50_000, maxEvents: 50, maxEventBytes: 4000 } })
})
afterAll(() => it[Symbol.asyncDispose]())

const json = JSON.stringify
const nested = (levels: number) => `{"type":"page_view","payload":{"a":${'['.repeat(levels)}${']'.repeat(levels)}}}`
const payload = (text: string) => `{"type":"page_view","payload":{${text}}}`

/** What is sent, status, code, path, and a part of the message; nothing may be in the log after any of them. */
const CASES: readonly (readonly [
  what: string,
  body: string | Uint8Array,
  status: number,
  code: string,
  path?: string | undefined,
  message?: RegExp,
])[] = [
  ['nothing', '', 400, 'empty_body'],
  ['blanks', ' \n ', 400, 'empty_body'],
  [
    'a brace too few',
    '{"type":"page_view"',
    400,
    'malformed_json',
    undefined,
    /line 1, column 20: expected "," or "}" but found the end/,
  ],
  ['a comma too many', '{\n "type": "page_view",\n}', 400, 'malformed_json', undefined, /line 3, column 1/],
  ['single quotes', "{'type':'page_view'}", 400, 'malformed_json', undefined, /column 2: expected a key in quotes/],
  ['something behind it', '{"type":"page_view"} x', 400, 'malformed_json', undefined, /column 22: expected the end/],
  ['NaN', '{"type":"page_view","sent_at":NaN}', 400, 'malformed_json'],
  ['a raw newline in a string', '{"type":"page\nview"}', 400, 'malformed_json', undefined, /control characters/],
  ['a depth bomb that is never closed', '['.repeat(15_000), 400, 'malformed_json', undefined, /column 15001/],
  [
    'a byte that is not UTF-8',
    Buffer.concat([Buffer.from('{"type":"'), Buffer.from([0xff]), Buffer.from('"}')]),
    400,
    'invalid_utf8',
    undefined,
    /from byte 9 on/,
  ],
  [
    'an overlong slash',
    Buffer.concat([Buffer.from('{"type":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]),
    400,
    'invalid_utf8',
  ],
  [
    'a surrogate in UTF-8',
    Buffer.concat([Buffer.from('{"type":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]),
    400,
    'invalid_utf8',
  ],
  ['UTF-16', Buffer.from('{"type":"page_view"}', 'utf16le'), 400, 'malformed_json'],
  ['an empty batch', '[]', 400, 'empty_batch'],
  ['a number', '7', 422, 'not_an_object', '', /not a number/],
  ['null', 'null', 422, 'not_an_object', '', /not null/],
  ['text', '"page_view"', 422, 'not_an_object', ''],
  ['no type', '{}', 422, 'missing_field', '/type', /one of session_start, page_view/],
  ['a type that is no text', '{"type":["page_view"]}', 422, 'wrong_type', '/type', /not an array/],
  ['a type nobody knows', '{"type":"page_veiw"}', 422, 'unknown_type', '/type', /did you mean "page_view"/],
  ['a type named like a property of every object', '{"type":"constructor"}', 422, 'unknown_type', '/type'],
  ['a reserved type', '{"type":"weft.tick"}', 403, 'reserved_type', '/type'],
  [
    'a field nobody knows',
    json(pageView({ payloads: {} })),
    422,
    'unknown_field',
    '/payloads',
    /did you mean "payload"/,
  ],
  ['an empty id', json(pageView({ event_id: '' })), 422, 'invalid_value', '/event_id', /1 to 128 characters, not 0/],
  ['an id that is too long', json(pageView({ event_id: 'x'.repeat(129) })), 422, 'invalid_value', '/event_id'],
  ['an id that is a number', '{"type":"page_view","event_id":7}', 422, 'wrong_type', '/event_id'],
  ['an id with NUL', '{"type":"page_view","event_id":"a\\u0000b"}', 422, 'invalid_text', '/event_id'],
  ['half a surrogate pair', '{"type":"page_view","user_id":"\\ud83d"}', 422, 'invalid_text', '/user_id'],
  ['a user that is an object', '{"type":"page_view","user_id":{}}', 422, 'wrong_type', '/user_id'],
  [
    'a session that is true',
    '{"type":"page_view","session_id":true}',
    422,
    'wrong_type',
    '/session_id',
    /not a boolean/,
  ],
  ["another's store", json(pageView({ store_id: 'birch' })), 403, 'tenant_foreign', '/store_id'],
  ['a store that is a number', json(pageView({ store_id: 1 })), 422, 'wrong_type', '/store_id'],
  ['a payload that is text', json(pageView({ payload: '{}' })), 422, 'wrong_type', '/payload', /not a string/],
  ['a payload that is an array', json(pageView({ payload: [] })), 422, 'wrong_type', '/payload'],
  [
    'a known field of the wrong type',
    json(pageView({ payload: { elapsed_ms: '10' } })),
    422,
    'wrong_type',
    '/payload/elapsed_ms',
    /an integer, not a string/,
  ],
  [
    'a fraction for an integer',
    json(pageView({ payload: { elapsed_ms: 1.5 } })),
    422,
    'wrong_type',
    '/payload/elapsed_ms',
    /not a fraction/,
  ],
  [
    'null for a known field',
    json(pageView({ payload: { page: null } })),
    422,
    'wrong_type',
    '/payload/page',
    /not null/,
  ],
  ['a number too large', payload('"n":1e999'), 422, 'number_out_of_range', '/payload/n'],
  [
    'a number that loses digits',
    payload('"a":[{"b/c":12345678901234567890}]'),
    422,
    'number_out_of_range',
    '/payload/a/0/b~1c',
  ],
  ['NUL in a payload', payload('"a":{"b":"\\u0000"}'), 422, 'invalid_text', '/payload/a/b'],
  ['half a surrogate pair in a key', payload('"\\udc00":1'), 422, 'invalid_text', '/payload'],
  ['__proto__ in an event', '{"type":"page_view","__proto__":{"type":"x"}}', 422, 'forbidden_key', '/__proto__'],
  ['__proto__ in a payload', payload('"a":{"__proto__":{"admin":true}}'), 422, 'forbidden_key', '/payload/a/__proto__'],
  ['__proto__ in escapes', payload('"\\u005f_proto__":1'), 422, 'forbidden_key', '/payload/__proto__'],
  ['a payload that is too deep', nested(40), 422, 'too_deep', '/payload', /deeper than 32/],
  ['a payload that is far too deep', nested(3000), 422, 'too_deep', '/payload'],
  [
    'a local time',
    json(pageView({ sent_at: '2026-01-31T12:00:00' })),
    422,
    'invalid_time',
    '/sent_at',
    /2026-01-31T12:00:00.000Z/,
  ],
  ['the 30th of February', json(pageView({ sent_at: '2026-02-30T12:00:00Z' })), 422, 'invalid_time', '/sent_at'],
  ['hour 25', json(pageView({ sent_at: '2026-01-31T25:00:00Z' })), 422, 'invalid_time', '/sent_at'],
  ['a time before the epoch', json(pageView({ sent_at: -1 })), 422, 'invalid_time', '/sent_at'],
  ['a time that is true', json(pageView({ sent_at: true })), 422, 'wrong_type', '/sent_at'],
  [
    'seconds for milliseconds',
    json(pageView({ sent_at: Math.floor(Date.now() / 1000) })),
    422,
    'clock_skew',
    '/sent_at',
    /behind the clock/,
  ],
  [
    'a clock an hour fast',
    json(pageView({ sent_at: Date.now() + 3_600_000 })),
    422,
    'clock_skew',
    '/sent_at',
    /ahead of the clock here; up to 300 s/,
  ],
  [
    'an event too large',
    json(pageView({ payload: { a: 'x'.repeat(5000) } })),
    413,
    'event_too_large',
    undefined,
    /one may take 4000/,
  ],
  [
    'a body too large',
    json(pageView({ payload: { a: 'x'.repeat(30_000) } })),
    413,
    'body_too_large',
    undefined,
    /may have 20000/,
  ],
  ['too many events', json(Array.from({ length: 51 }, () => 0)), 413, 'too_many_events'],
]

describe('nothing is stored of', () => {
  for (const [what, body, status, code, path, message] of CASES) {
    test(what, async () => {
      const answer = await send(it.url, body)
      expect(answer).toMatchObject({ status, body: { error: { code, retryable: false } } })
      expect(answer.body.error.path).toBe(path)
      expect(answer.body.error.message).toMatch(message ?? /./)
      expect(answer.headers.get('traceparent')).toMatch(/^00-/)
    })
  }

  test('any of them', async () => {
    expect(await logged(it.transport)).toEqual([])
  })
})

describe('a request is refused by its headers for', () => {
  const good = json(pageView())
  test.each([
    ['a content type that is not taken', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
    ['a content type that is none', { 'content-type': 'json' }, 415, 'unsupported_media_type'],
    ['another charset', { 'content-type': 'application/json; charset=iso-8859-1' }, 415, 'unsupported_media_type'],
    ['an encoding nobody knows', { 'content-encoding': 'lzma' }, 415, 'unsupported_encoding'],
    [
      'an encoding named like a property of every object',
      { 'content-encoding': 'constructor' },
      415,
      'unsupported_encoding',
    ],
    ['two encodings', { 'content-encoding': 'gzip, br' }, 415, 'unsupported_encoding'],
    ['a body that is not what its encoding says', { 'content-encoding': 'gzip' }, 400, 'corrupt_encoding'],
    ['a key nobody has', { authorization: 'Bearer wk_nobody_1' }, 401, 'credential_invalid'],
    ['another scheme', { authorization: 'Basic YTpi' }, 401, 'credential_invalid'],
    ['a token that is none', { authorization: 'Bearer a.b.c' }, 401, 'token_malformed'],
    ['an Idempotency-Key with a blank', { 'idempotency-key': 'a b' }, 400, 'invalid_header'],
    ['an Idempotency-Key that is too long', { 'idempotency-key': 'k'.repeat(256) }, 400, 'invalid_header'],
  ] as [string, Record<string, string>, number, string][])('%s', async (_, headers, status, code) => {
    const answer = await send(it.url, good, headers)
    expect(answer).toMatchObject({ status, body: { error: { code } } })
    expect(answer.headers.has('www-authenticate')).toBe(status === 401)
    expect(answer.headers.get('accept-encoding')).toBe(code === 'unsupported_encoding' ? 'gzip, br, zstd' : null)
  })

  test('no credential, no content type, and a token without the scope', async () => {
    const bare = await fetch(it.url, { method: 'POST', body: Buffer.from(good) })
    expect([bare.status, ((await bare.json()) as { error: { code: string } }).error.code]).toEqual([
      401,
      'credential_missing',
    ])
    const typeless = await fetch(it.url, {
      method: 'POST',
      headers: { 'x-write-key': 'wk_aurora_test' },
      body: Buffer.from(good),
    })
    expect(typeless.status).toBe(415)
    await typeless.arrayBuffer()
    const reader = await send(it.url, good, { authorization: `Bearer ${await token('aurora', ['alerts:read'])}` })
    expect(reader).toMatchObject({ status: 403, body: { error: { code: 'scope_missing' } } })
  })

  test('a compressed stream that is cut short, or grows beyond the limit', async () => {
    const whole = gzipSync(good)
    const cut = await send(it.url, whole.subarray(0, whole.length - 9), { 'content-encoding': 'gzip' })
    expect(cut).toMatchObject({ status: 400, body: { error: { code: 'corrupt_encoding' } } })
    const bomb = Buffer.alloc(10_000_000, ' ')
    for (const [encoding, body] of [
      ['gzip', gzipSync(bomb)],
      ['br', brotliCompressSync(bomb)],
    ] as const) {
      expect(body.length).toBeLessThan(20_000)
      const answer = await send(it.url, body, { 'content-encoding': encoding })
      expect(answer).toMatchObject({ status: 413, body: { error: { code: 'body_too_large' } } })
      expect(answer.body.error.message).toMatch(/decompresses to more than 50000/)
    }
  })

  test('a body without a length that grows beyond the limit', async () => {
    const chunk = Buffer.alloc(8000, ' ')
    const stream = new ReadableStream({
      pull(controller) {
        controller.enqueue(chunk)
      },
    })
    const headers = { 'x-write-key': 'wk_aurora_test', 'content-type': 'application/json' }
    const answer = await fetch(it.url, { method: 'POST', headers, body: stream, duplex: 'half' } as RequestInit).then(
      response => response.status,
      // The connection may be closed before all was sent; the answer is then lost on the way.
      () => 413,
    )
    expect(answer).toBe(413)
  })

  test('another path or method', async () => {
    const elsewhere = await fetch(new URL('/v1/event', it.url))
    expect(elsewhere.status).toBe(404)
    expect(await elsewhere.json()).toMatchObject({ error: { code: 'not_found' } })
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await fetch(it.url, { method })
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST, OPTIONS'])
      expect(await answer.json()).toMatchObject({ error: { code: 'method_not_allowed' } })
    }
  })
})

test('a token above tenants must name the store, and may name any', async () => {
  const headers = { authorization: `Bearer ${await token('*')}` }
  await using own = await world()
  expect(await send(own.url, pageView(), headers)).toMatchObject({
    status: 422,
    body: { error: { code: 'missing_field' } },
  })
  expect(await send(own.url, pageView({ store_id: 'a/b' }), headers)).toMatchObject({ status: 422 })
  expect(await send(own.url, pageView({ store_id: 'cobalt' }), headers)).toMatchObject({ status: 202 })
  expect((await logged(own.transport)).map(({ event }) => event.store_id)).toEqual(['cobalt'])
})

test('keys that cannot be fetched are a fault of ours: 503 with Retry-After', async () => {
  const jwksUrl = 'http://127.0.0.1:1/jwks.json'
  const [header] = (await token('aurora')).split('.')
  await using own = await world({ auth: createAuth({ jwt: { jwksUrl, algorithms: ['RS256'] } }) })
  const rs256 = Buffer.from('{"alg":"RS256"}').toString('base64url')
  const answer = await send(own.url, pageView(), { authorization: `Bearer ${rs256}.${header}.AAAA` })
  expect(answer).toMatchObject({ status: 503, body: { error: { code: 'keys_unavailable', retryable: true } } })
  expect(answer.headers.get('retry-after')).toBe('1')
})
