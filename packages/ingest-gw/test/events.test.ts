import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { headerOf, text } from '@weft/transport'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { logged, pageView, send, token, type World, world } from './fixture.ts'

let it: World
beforeAll(async () => {
  it = await world()
})
afterAll(() => it[Symbol.asyncDispose]())

const inLog = async (id: string) => (await logged(it.transport)).filter(({ event }) => event.event_id === id)

describe('an event that was accepted', () => {
  test('is in the log when it is answered, with key, time, headers and what the request told', async () => {
    const sent_at = Date.now() - 5000
    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const answer = await send(
      it.url,
      pageView({
        event_id: 'whole',
        user_id: 'u-1',
        sent_at: new Date(sent_at).toISOString(),
        payload: { elapsed_ms: 1, page: 'product', own: { deep: ['ü', null] } },
      }),
      {
        traceparent: trace,
        'user-agent': 'tracker/1',
        referer: 'https://shop.example/a',
        'idempotency-key': 'k-whole',
      },
    )
    expect(answer).toMatchObject({ status: 202, body: { event_id: 'whole', status: 'accepted' } })
    expect(answer.headers.get('traceparent')).toBe(trace)
    const [record] = await inLog('whole')
    expect(record?.key && text(record.key)).toBe('aurora:u-1')
    expect(record?.time).toBe(sent_at)
    expect(record && headerOf(record, 'weft-tenant')).toBe('aurora')
    expect(record && headerOf(record, 'traceparent')).toBe(trace)
    expect(record?.schema?.subject).toBe('events.raw.v1-value')
    expect(record?.event).toEqual({
      event_id: 'whole',
      store_id: 'aurora',
      user_id: 'u-1',
      session_id: 's-1',
      type: 'page_view',
      payload: '{"elapsed_ms":1,"page":"product","own":{"deep":["ü",null]}}',
      sent_at,
      received_at: expect.any(Number),
      idempotency_key: 'k-whole',
      user_agent: 'tracker/1',
      referrer: 'https://shop.example/a',
    })
  })

  test('gets an id, a time and a trace when it brings none', async () => {
    const before = Date.now()
    const { status, body, headers } = await send(it.url, pageView(), { traceparent: '00-not-a-trace-01' })
    expect(status).toBe(202)
    expect(headers.get('traceparent')).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    const [record] = await inLog(body.event_id)
    expect(record?.event.sent_at).toBeGreaterThanOrEqual(before)
    expect(record?.event.sent_at).toBe(record?.event.received_at)
  })

  test('comes by a JWT as well, and by X-Write-Key', async () => {
    const jwt = await send(it.url, pageView(), { authorization: `Bearer ${await token('cobalt')}` })
    expect((await inLog(jwt.body.event_id))[0]?.event.store_id).toBe('cobalt')
    const response = await fetch(it.url, {
      method: 'POST',
      headers: { 'x-write-key': 'wk_birch_test', 'content-type': 'application/json' },
      body: JSON.stringify(pageView({ store_id: 'birch' })),
    })
    expect(response.status).toBe(202)
  })

  test('may be sent compressed, each way there is', async () => {
    for (const [encoding, compress] of [
      ['gzip', gzipSync],
      ['br', brotliCompressSync],
      ['zstd', zstdCompressSync],
    ] as const) {
      const answer = await send(it.url, compress(JSON.stringify(pageView({ event_id: encoding }))), {
        'content-encoding': encoding,
      })
      expect([encoding, answer.status]).toEqual([encoding, 202])
      expect(await inLog(encoding)).toHaveLength(1)
    }
  })
})

describe('several events', () => {
  test('as an array are stored together and each told its result', async () => {
    const { status, body } = await send(it.url, [pageView({ event_id: 'b1' }), pageView({ event_id: 'b2' })])
    expect(status).toBe(202)
    expect(body).toEqual({
      accepted: 2,
      duplicate: 0,
      rejected: 0,
      results: [
        { event_id: 'b1', status: 'accepted' },
        { event_id: 'b2', status: 'accepted' },
      ],
    })
  })

  test('as NDJSON may hold blank lines and a line that is broken, which alone is rejected', async () => {
    const lines = `${JSON.stringify(pageView({ event_id: 'n1' }))}\r\n\n{"type":\n${JSON.stringify(pageView({ event_id: 'n2' }))}`
    const { status, body } = await send(it.url, lines, { 'content-type': 'application/x-ndjson; charset=utf-8' })
    expect(status).toBe(207)
    expect(body.results).toMatchObject([
      { event_id: 'n1', status: 'accepted' },
      { status: 'rejected', error: { code: 'malformed_json', message: expect.stringContaining('line 3') } },
      { event_id: 'n2', status: 'accepted' },
    ])
    expect([...(await inLog('n1')), ...(await inLog('n2'))]).toHaveLength(2)
  })

  test('that are good are stored though others are bad, foreign ones included', async () => {
    const { status, body } = await send(it.url, [
      pageView({ event_id: 'm1' }),
      pageView({ event_id: 'm2', store_id: 'birch' }),
      pageView({ event_id: 'm3', type: 'page_veiw' }),
      7,
    ])
    expect(status).toBe(207)
    expect(body).toMatchObject({ accepted: 1, duplicate: 0, rejected: 3 })
    expect(body.results).toMatchObject([
      { event_id: 'm1', status: 'accepted' },
      { event_id: 'm2', status: 'rejected', error: { code: 'tenant_foreign', path: '/store_id', retryable: false } },
      {
        event_id: 'm3',
        error: { code: 'unknown_type', path: '/type', message: expect.stringContaining('"page_view"') },
      },
      { status: 'rejected', error: { code: 'not_an_object', path: '' } },
    ])
    expect(await inLog('m2')).toHaveLength(0)
  })

  test('with one id twice: the same again is a duplicate, another content is refused', async () => {
    const { body } = await send(it.url, [
      pageView({ event_id: 'twice' }),
      pageView({ event_id: 'twice' }),
      pageView({ event_id: 'twice', session_id: 'other' }),
    ])
    expect(body.results).toMatchObject([
      { status: 'accepted' },
      { status: 'duplicate' },
      { status: 'rejected', error: { code: 'event_id_reused' } },
    ])
    expect(await inLog('twice')).toHaveLength(1)
  })
})
