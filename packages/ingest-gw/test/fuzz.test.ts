import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { eventTypes } from '@weft/schema'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { logged, pageView, type Sent, send, type World, world } from './fixture.ts'
import { takes } from './openapi-truth.ts'

const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))

let it: World
/** Ids that were answered as accepted. */
const accepted: string[] = []
beforeAll(async () => {
  console.info(`fuzzing test: WEFT_SEED=${seed}`)
  it = await world()
})
afterAll(() => it[Symbol.asyncDispose]())

interface Garbage {
  readonly body: string | Uint8Array
  readonly headers?: Record<string, string>
}

async function check({ body, headers }: Garbage): Promise<Sent> {
  // Holds status, headers and body to the OpenAPI document, which knows 500 and 503; garbage must not lead there.
  const answer = await send(it.url, body, headers)
  expect(answer.status).toBeLessThan(500)
  const results = answer.body.results ?? (answer.body.status ? [answer.body] : [])
  for (const { event_id, status } of results) if (status === 'accepted') accepted.push(event_id)
  return answer
}

const good = JSON.stringify(pageView({ user_id: 'u', sent_at: Date.now() }))
const wrong: readonly [string, string][] = [
  ['null', 'null'],
  ['true', 'true'],
  ['zero', '0'],
  ['a negative number', '-1'],
  ['a fraction', '1.5'],
  ['infinity', '1e999'],
  ['a long integer', '12345678901234567890'],
  ['an empty text', '""'],
  ['a long text', JSON.stringify('x'.repeat(100_000))],
  ['an array', '[]'],
  ['an object', '{}'],
  ['NUL', '"a\\u0000"'],
  ['half a pair', '"\\ud800"'],
  ['an object with __proto__', '{"__proto__":{"x":1}}'],
  ['markup', '"<script>alert(1)</script>"'],
  ['a line break', '"a\\r\\nSet-Cookie: x=1"'],
]

function* kinds(): Iterable<[string, Garbage]> {
  for (const field of ['event_id', 'type', 'user_id', 'session_id', 'store_id', 'sent_at', 'payload', 'own'])
    for (const [what, value] of wrong)
      yield [`${what} as ${field}`, { body: `${good.slice(0, -1)},"${field}":${value}}` }]
  for (const [type, schema] of Object.entries(eventTypes))
    for (const field of Object.keys(schema.properties))
      for (const [what, value] of wrong.slice(0, 8))
        yield [`${what} as ${field} of ${type}`, { body: `{"type":"${type}","payload":{"${field}":${value}}}` }]
  for (let at = 1; at < good.length; at += 7) yield [`cut at ${at}`, { body: good.slice(0, at) }]
  for (const char of ['\0', '"', '\\', '{', ']', ',', '\ufeff', '\u2028', 'é'])
    yield [`${JSON.stringify(char)} in the middle`, { body: `${good.slice(0, 9)}${char}${good.slice(9)}` }]
  for (const byte of [0x80, 0xbf, 0xc0, 0xed, 0xf5, 0xff])
    yield [`byte ${byte}`, { body: Buffer.concat([Buffer.from(good), Buffer.from([byte])]) }]
  for (const bracket of ['[', '{"a":', '[{"payload":'])
    yield [`a depth bomb of ${bracket}`, { body: bracket.repeat(50_000) }]
  for (const encoding of ['gzip', 'br', 'zstd', 'deflate', 'identity', '', 'GZIP', 'gzip,gzip']) {
    const headers = { 'content-encoding': encoding }
    yield [`plain text as ${encoding}`, { body: good, headers }]
    yield [`deflate as ${encoding}`, { body: deflateSync(good), headers }]
    yield [`half of gzip as ${encoding}`, { body: gzipSync(good).subarray(0, 20), headers }]
    yield [`zstd of garbage as ${encoding}`, { body: zstdCompressSync(Buffer.from([0xff, 0xfe])), headers }]
  }
  for (const type of [
    'text/plain',
    'application/xml',
    'application/json; charset=latin1',
    'multipart/form-data',
    ';',
    'a/b/c',
  ])
    yield [`content type ${type}`, { body: good, headers: { 'content-type': type } }]
  for (const value of [
    '00-0-0-0',
    `ff-${'1'.repeat(32)}-${'1'.repeat(16)}-01`,
    'x'.repeat(5000),
    `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`,
  ])
    yield [`traceparent ${value.slice(0, 20)}`, { body: good, headers: { traceparent: value } }]
  for (const lines of ['\n\n\n', '{}\n[]\n7\n', `${good}\n{`, '\r\n', `[${good}]`])
    yield [
      `lines ${JSON.stringify(lines.slice(0, 20))}`,
      { body: lines, headers: { 'content-type': 'application/x-ndjson' } },
    ]
}

test('200 kinds of garbage and more give no 5xx and nothing that the document does not say', async () => {
  const all = [...kinds()]
  expect(new Set(all.map(([what]) => what)).size).toBeGreaterThanOrEqual(200)
  for (const [what, garbage] of all) await check(garbage).catch(error => expect.fail(`${what}: ${error}`))
})

/** Faults that a JSON schema cannot tell: they depend on the clock, the caller, or the text before it was parsed. */
const BEYOND_SCHEMA = [
  'clock_skew',
  'invalid_time',
  'tenant_foreign',
  'invalid_text',
  'number_out_of_range',
  'event_id_reused',
  'forbidden_key',
]

test('what the document takes is taken, and what it does not take is not', async () => {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.string(), fc.integer())
  const seldom = <T>(arbitrary: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 6, arbitrary }, { weight: 1, arbitrary: anything })
  const event = fc.record(
    {
      type: seldom(fc.constantFrom(...Object.keys(eventTypes))),
      event_id: seldom(fc.string({ minLength: 1, maxLength: 130 })),
      user_id: seldom(fc.option(fc.string({ minLength: 1 }))),
      session_id: seldom(fc.string({ minLength: 1 })),
      sent_at: seldom(fc.integer({ min: Date.now() - 80_000_000, max: Date.now() })),
      store_id: seldom(fc.constant('aurora')),
      payload: seldom(
        fc.record(
          { elapsed_ms: seldom(fc.nat()), page: seldom(fc.string()), total: seldom(fc.double()), own: fc.jsonValue() },
          { requiredKeys: [] },
        ),
      ),
    },
    { requiredKeys: [] },
  )
  await fc.assert(
    fc.asyncProperty(event, async value => {
      const body = JSON.stringify(value)
      const { status, body: answer } = await check({ body })
      const valid = takes(JSON.parse(body))
      if (!valid) expect(status).toBeGreaterThanOrEqual(400)
      else if (status >= 400) expect(BEYOND_SCHEMA).toContain(answer.error.code)
    }),
    { seed, numRuns: 400 },
  )
})

test('random bytes, random JSON and random damage to a good batch give no 5xx', async () => {
  const batch = Buffer.from(JSON.stringify([pageView(), pageView({ user_id: 'ü' })]))
  const damaged = fc
    .array(fc.tuple(fc.nat(batch.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map(changes => {
      const copy = Buffer.from(batch)
      for (const [at, byte] of changes) copy[at] = byte
      return copy
    })
  const body = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }).map(bytes => Buffer.from(bytes)),
    fc.json().map(text => Buffer.from(text)),
    damaged,
  )
  const headers = fc.constantFrom<Record<string, string>>(
    {},
    { 'content-encoding': 'gzip' },
    { 'content-encoding': 'br' },
    { 'content-encoding': 'zstd' },
    { 'content-type': 'application/x-ndjson' },
  )
  await fc.assert(
    fc.asyncProperty(body, headers, async (body, headers) => void (await check({ body, headers }))),
    {
      seed,
      numRuns: 400,
    },
  )
})

test('after all that the log holds exactly what was answered as accepted, and events are taken as before', async () => {
  await check({ body: good })
  const ids = (await logged(it.transport)).map(({ event }) => event.event_id)
  expect(ids.toSorted()).toEqual(accepted.toSorted())
})
