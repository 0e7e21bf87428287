import { request } from 'node:http'
import type { Catalogue } from '@weft/schema'
import { publishMetrics } from '@weft/telemetry'
import { HEADERS, header } from '@weft/transport'
import { expect, test } from 'vitest'
import { EventStream } from './event-stream.ts'
import { serving, some, tokenFor } from './serving.ts'

interface Numbers {
  readonly alertsPerMinute: {
    readonly minute: number
    readonly critical: number
    readonly warning: number
    readonly info: number
  }[]
  readonly tenants: string[]
  readonly deadLetters: number
  readonly scores: number[]
  readonly eventsPerSecond: number
  readonly stages: { readonly stage: string; readonly in: number; readonly lag: number }[]
  readonly groups: { readonly group: string; readonly lag: number }[]
}

const letter = (catalogue: Catalogue, store_id: string, dead_letter_id: string, outcome?: string) => {
  const from = { original_topic: 'events.raw.v1', original_partition: 0, original_position: '0', original_headers: [] }
  const nothing = { event_id: null, original_key: null, original_value: null, original_schema: null }
  const why = { error_code: 'SCHEMA', error_reason: 'no event', consumer: 'validate', attempts: 1 }
  const value = { store_id, dead_letter_id, ...from, ...nothing, ...why, original_time: 0, failed_at: 0 }
  const headers = outcome === undefined ? [] : [header(HEADERS.outcome, outcome)]
  return catalogue.codec('events.dlq.v1').message(value, { time: 0, headers })
}

test('the page and what it needs are served with their types, a strict policy, and an empty answer when unchanged', async () => {
  const { start } = await serving()
  const { url } = await start()
  for (const [path, type] of [
    ['/', 'text/html; charset=utf-8'],
    ['/dashboard.css', 'text/css; charset=utf-8'],
    ['/dashboard.js', 'text/javascript; charset=utf-8'],
    ['/icon.svg', 'image/svg+xml'],
  ]) {
    const response = await fetch(url + path)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe(type)
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
    const etag = response.headers.get('etag') ?? ''
    expect((await fetch(url + path, { headers: { 'if-none-match': etag } })).status).toBe(304)
  }
  for (const path of ['/index.ts', '/../alerts-api.ts', '/%2e%2e/index.ts', '/nothing'])
    expect((await fetch(url + path)).status).toBe(404)
})

test('a token for development goes only to pages of this machine that ask by a loopback name', async () => {
  const { start } = await serving()
  const { url } = await start({ devToken: () => tokenFor('*') })
  const ask = (headers: Record<string, string>) =>
    new Promise<number | undefined>(resolve => {
      request(`${url}/dev-token`, { headers }, response => resolve(response.resume().statusCode)).end()
    })
  expect(await ask({})).toBe(200)
  expect(await ask({ host: 'localhost:7070', 'sec-fetch-site': 'same-origin' })).toBe(200)
  expect(await ask({ host: 'evil.example' })).toBe(404)
  expect(await ask({ 'sec-fetch-site': 'cross-site' })).toBe(404)
  const { token } = (await (await fetch(`${url}/dev-token`)).json()) as { token: string }
  expect((await fetch(`${url}/v1/stats`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
  const bare = await start()
  expect((await fetch(`${bare.url}/dev-token`)).status).toBe(404)
})

test('the numbers count alerts by minute and severity, of all for admins and of its own for a tenant, from before the start on', async () => {
  const { start, raise, transport, catalogue } = await serving()
  await raise(...some(3, { severity: 'critical' }), { store_id: 'birch' })
  await transport.append({ name: 'events.dlq.v1' }, [
    ...['a1', 'a2'].map(id => letter(catalogue, 'aurora', id)),
    letter(catalogue, 'birch', 'b1'),
    ...['retried', 'discarded'].map(outcome => letter(catalogue, 'aurora', 'a2', outcome)),
    letter(catalogue, 'birch', 'gone', 'retried'),
  ])
  const { url } = await start({ ringMs: 0 })
  await raise({ severity: 'info' }, { severity: 'info', state: 'cleared' })
  const numbers = async (tenant: string, query = '') => {
    const headers = { authorization: `Bearer ${await tokenFor(tenant)}` }
    const response = await fetch(`${url}/v1/stats${query}`, { headers })
    const { alertsPerMinute, tenants, deadLetters, ...rest } = (await response.json()) as Numbers
    const total = (severity: 'critical' | 'warning' | 'info') =>
      alertsPerMinute.reduce((sum, counts) => sum + counts[severity], 0)
    expect(alertsPerMinute).toHaveLength(60)
    return {
      alerts: [total('critical'), total('warning'), total('info')],
      tenants,
      deadLetters,
      groups: rest.groups.length,
      stages: rest.stages.length,
    }
  }
  await expect
    .poll(() => numbers('*'))
    .toMatchObject({ alerts: [3, 1, 1], tenants: ['aurora', 'birch'], deadLetters: 2 })
  expect(await numbers('*', '?tenant=birch')).toMatchObject({ alerts: [0, 1, 0], deadLetters: 1 })
  expect(await numbers('aurora')).toEqual({
    alerts: [3, 0, 1],
    tenants: ['aurora'],
    deadLetters: 1,
    groups: 0,
    stages: 0,
  })
  expect(
    (await fetch(`${url}/v1/stats?tenant=birch`, { headers: { authorization: `Bearer ${await tokenFor('aurora')}` } }))
      .status,
  ).toBe(403)
})

test('what the services publish becomes rates, lag and the distribution of scores, streamed as it changes', async () => {
  const { start, transport, catalogue } = await serving()
  const { url } = await start({ statsEveryMs: 50 })
  const codec = catalogue.codec('tracking.metrics.v1')
  const publish = (at: number, samples: [name: string, labels: Record<string, string>, value: number][]) =>
    transport.append(
      { name: 'tracking.metrics.v1' },
      samples.map(([metric_name, labels, metric_value]) =>
        codec.message({ service_id: 'pipeline@test', metric_name, labels, metric_value, timestamp: at }, { time: at }),
      ),
    )
  const now = Date.now()
  await publish(now - 10_000, [
    ['weft_ingest_events_total', { tenant: 'aurora', outcome: 'accepted' }, 1_000],
    ['weft_stage_records_total', { stage: 'score', direction: 'in' }, 500],
  ])
  await publish(now - 5_000, [['weft_stage_records_total', { stage: 'score', direction: 'in' }, 600]])
  await publish(now, [
    ['weft_ingest_events_total', { tenant: 'aurora', outcome: 'accepted' }, 2_000],
    ['weft_ingest_events_total', { tenant: 'aurora', outcome: 'rejected' }, 7],
    // Below the last one: the service was started anew.
    ['weft_stage_records_total', { stage: 'score', direction: 'in' }, 200],
    ['weft_stage_lag', { stage: 'score' }, 42],
    ['weft_score_bucket', { tenant: 'aurora', le: '0.1' }, 5],
    ['weft_score_bucket', { tenant: 'aurora', le: '0.2' }, 8],
    ['weft_score_bucket', { tenant: 'aurora', le: '+Inf' }, 8],
  ])
  const stream = await EventStream.open(`${url}/v1/stats/stream`, await tokenFor('*'))
  const latest = () => JSON.parse(stream.events.at(-1)?.data ?? '{}') as Numbers
  await stream.until(() => latest().scores?.[0] === 5)
  expect(latest().eventsPerSecond).toBeGreaterThan(50)
  expect(latest().eventsPerSecond).toBeLessThanOrEqual(100)
  expect(latest().scores.slice(0, 3)).toEqual([5, 3, 0])
  expect(latest().stages).toMatchObject([{ stage: 'score', lag: 42 }])
  expect(latest().stages[0]?.in).toBeGreaterThan(15)
  expect(latest().stages[0]?.in).toBeLessThanOrEqual(30)
  stream.close()
})

test('connections are among what the services publish', async () => {
  const { start, transport, catalogue } = await serving()
  const { url } = await start()
  const stream = await EventStream.open(`${url}/v1/alerts/stream`, await tokenFor('aurora'))
  await using _publishing = publishMetrics(transport, catalogue, 'alerts-api', { everyMs: 20 })
  const codec = catalogue.codec('tracking.metrics.v1')
  for await (const batch of transport.read({ name: 'tracking.metrics.v1' }, { from: 'earliest' })) {
    const found = batch
      .map(message => codec.decode(message))
      .find(({ metric_name }) => metric_name === 'weft_alerts_connections')
    if (!found) continue
    expect(found).toMatchObject({ labels: { kind: 'sse' }, metric_value: 1 })
    break
  }
  stream.close()
})

test('the API describes itself, and tells how it does', async () => {
  const { start, health, raise } = await serving()
  await raise({})
  const { url } = await start()
  const get = async (path: string) =>
    (await fetch(url + path, { headers: { authorization: `Bearer ${await tokenFor('aurora')}` } })).json()
  // biome-ignore lint/suspicious/noExplicitAny: an OpenAPI document
  const document = (await get('/openapi.json')) as any
  const [alert] = ((await get('/v1/alerts')) as { alerts: object[] }).alerts
  const { schema } = document.paths['/v1/alerts'].get.responses[200].content['application/json']
  expect(Object.keys(schema.properties.alerts.items.properties)).toEqual(Object.keys(alert ?? {}))
  const { properties } = document.paths['/v1/stats'].get.responses[200].content['application/json'].schema
  expect(Object.keys(properties).sort()).toEqual(Object.keys((await get('/v1/stats')) as object).sort())
  expect(Object.keys(document.paths).sort()).toEqual([
    '/v1/alerts',
    '/v1/alerts/stream',
    '/v1/stats',
    '/v1/stats/stream',
  ])
  expect((await fetch(`${url}/docs/`)).status).toBe(200)
  expect(await (await fetch(`${url}/metrics`)).text()).toContain('weft_alerts_connections')
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  expect((await health.ready()).checks['alerts-api']).toMatchObject({ ok: true })
  expect(await (await fetch(`${url}/v1/nothing`)).json()).toMatchObject({ code: 'not_found' })
})
