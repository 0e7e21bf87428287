import { once } from 'node:events'
import { connect } from 'node:net'
import { registry } from '@weft/telemetry'
import { EventSource } from 'eventsource'
import { expect, test } from 'vitest'
import { EventStream } from './event-stream.ts'
import { eventually, serving, some, tokenFor } from './serving.ts'

const streamOf = ({ url }: { url: string }, query = '') => `${url}/v1/alerts/stream${query}`

async function refusalOf(url: string, token?: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers: { ...(token && { authorization: `Bearer ${token}` }), ...headers } })
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    ...((await response.json()) as { code: string; message: string }),
  }
}

test('a stream gives what comes after it was opened, in the order of each entity, with a cursor each', async () => {
  const { start, raise } = await serving()
  await raise(...some(3))
  const api = await start()
  const stream = await EventStream.open(streamOf(api), await tokenFor('aurora'))
  expect(stream.response.status).toBe(200)
  expect(Object.fromEntries(stream.response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  })
  await stream.until(({ lastEventId }) => lastEventId !== '')
  const ids = await raise(...some(20, { user_id: 'u1' }))
  await stream.until(({ alertIds }) => alertIds.length === 20)
  expect(stream.alertIds).toEqual(ids)
  expect(new Set(stream.of('alert').map(({ id }) => id)).size).toBe(20)
  expect(stream.retry).toBe(2000)
  stream.close()
})

test('what one stream has given is not given again to the one that resumes, and the rest is', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const token = await tokenFor('aurora')
  const all = await raise(...some(50))
  const first = await EventStream.open(streamOf(api, '?from=earliest'), token)
  await first.until(({ alertIds }) => alertIds.length === 50)
  first.close()
  const { id } = first.of('alert')[19] as { id: string }
  const later = (first.of('alert')[30] as { id: string }).id
  for (const [query, headers] of [
    ['', { 'last-event-id': id }],
    [`?last_event_id=${later}`, { 'last-event-id': id }],
    [`?last_event_id=${id}&cursor=${later}`, {}],
    [`?cursor=${id}&from=earliest`, {}],
    [`?from=${id}`, {}],
  ] as const) {
    const second = await EventStream.open(streamOf(api, query), token, headers)
    await second.until(({ alertIds }) => alertIds.length === 30)
    expect([...first.alertIds.slice(0, 20), ...second.alertIds].sort()).toEqual(all.sort())
    second.close()
  }
})

test('a stream can begin at an instant, and resumes from there even in partitions that were silent', async () => {
  const { start, raise } = await serving()
  await raise(...some(30))
  const before = Date.now()
  await eventually(() => Date.now()).toBeGreaterThan(before)
  const instant = Date.now()
  const since = await raise(...some(4))
  const token = await tokenFor('aurora')
  for (const ringMs of [300_000, 0]) {
    const api = await start({ ringMs })
    for (const from of [String(instant), new Date(instant).toISOString()]) {
      const stream = await EventStream.open(streamOf(api, `?from=${from}`), token)
      await stream.until(({ alertIds }) => alertIds.length === 4)
      expect(stream.alertIds.toSorted()).toEqual(since.toSorted())
      stream.close()
      const resumed = await EventStream.open(streamOf(api), token, { 'last-event-id': stream.events[0]?.id ?? '' })
      await resumed.until(({ alertIds }) => alertIds.length === 4)
      expect(resumed.alertIds.toSorted()).toEqual(since.toSorted())
      resumed.close()
    }
  }
})

test('a tenant sees its own alerts only; a token above tenants sees all, or those of the one it asks for', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const own = await tokenFor('aurora')
  const admin = await tokenFor('*')
  const streams = await Promise.all([
    EventStream.open(streamOf(api), own),
    EventStream.open(streamOf(api, '?tenant=aurora'), own),
    EventStream.open(streamOf(api, '?tenant=birch'), admin),
    EventStream.open(streamOf(api), admin),
  ])
  const aurora = await raise(...some(5))
  const birch = await raise(...some(5, { store_id: 'birch' }))
  const last = await raise({ store_id: 'aurora' }, { store_id: 'birch' })
  for (const [i, wanted] of [
    [...aurora, last[0]],
    [...aurora, last[0]],
    [...birch, last[1]],
    [...aurora, ...birch, ...last],
  ].entries()) {
    const stream = streams[i] as EventStream
    await stream.until(({ alertIds }) => alertIds.length === wanted.length)
    expect(stream.alertIds.toSorted()).toEqual(wanted.toSorted())
    stream.close()
  }
  expect(await refusalOf(streamOf(api, '?tenant=birch'), own)).toMatchObject({ status: 403, code: 'tenant_foreign' })
})

test('filters choose by severity, rule, entity and state, and combine', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const token = await tokenFor('aurora')
  const open = (query: string) => EventStream.open(streamOf(api, query), token)
  const streams = {
    severe: await open('?severity=critical,warning'),
    rule: await open('?rule=a,b&rule=c'),
    entity: await open('?entity=aurora:u1&entity=aurora:u2&severity=info'),
    cleared: await open('?state=cleared'),
  }
  const [one, two, three, four] = await raise(
    { severity: 'critical', rule: 'a,b' },
    { severity: 'info', user_id: 'u1', rule: 'c' },
    { severity: 'warning', user_id: 'u2', state: 'cleared' },
    { severity: 'info', user_id: 'u3', rule: 'd', state: 'cleared' },
  )
  const wanted = { severe: [one, three], rule: [one, two], entity: [two], cleared: [three, four] }
  for (const [name, ids] of Object.entries(wanted)) {
    const stream = await streams[name as keyof typeof streams].until(({ alertIds }) => alertIds.length >= ids.length)
    expect(stream.alertIds.toSorted()).toEqual(ids.toSorted())
    stream.close()
  }
  expect(await refusalOf(streamOf(api, '?severity=fatal'), token)).toMatchObject({
    status: 400,
    code: 'invalid_filter',
    message: 'severity: "fatal" is none of info, warning, critical',
  })
})

test("a filtered client's place to resume from moves on though nothing fits, and heartbeats show that it lives", async () => {
  const { start, raise } = await serving()
  const api = await start({ heartbeatMs: 50 })
  const token = await tokenFor('aurora')
  const stream = await EventStream.open(streamOf(api, '?severity=critical'), token)
  await stream.until(({ lastEventId }) => lastEventId !== '')
  const { lastEventId } = stream
  await raise(...some(3))
  await stream.until(({ lastEventId: now, comments }) => now !== lastEventId && comments.length > 2)
  expect(stream.alertIds).toEqual([])
  const resumed = await EventStream.open(streamOf(api), token, { 'last-event-id': stream.lastEventId })
  const [id] = await raise({})
  await resumed.until(({ alertIds }) => alertIds.length > 0)
  expect(resumed.alertIds).toEqual([id])
  stream.close()
  resumed.close()
})

test("a browser's EventSource follows a filtered stream through a restart of the server by itself", async () => {
  const { start, raise } = await serving()
  const before = await start({ heartbeatMs: 50, retryMs: 20 })
  const port = Number(new URL(before.url).port)
  const source = new EventSource(streamOf(before, `?severity=critical&access_token=${await tokenFor('aurora')}`))
  const seen: string[] = []
  const opened = Promise.withResolvers<void>()
  source.addEventListener('cursor', () => opened.resolve())
  source.addEventListener('alert', ({ data }) => seen.push(JSON.parse(data).alert_id))
  await opened.promise
  const first = await raise({ severity: 'critical' }, { severity: 'info' })
  await eventually(() => seen.length).toBe(1)
  await before[Symbol.asyncDispose]()
  const second = await raise({ severity: 'critical' })
  await start({ port, heartbeatMs: 50 })
  await eventually(() => seen).toEqual([first[0], ...second])
  source.close()
})

test.each([
  ['garbage', /not a cursor/],
  ['c1.elsewhere.0:1', /another cluster/],
  ['c1.CLUSTER.99:1', /partition 99 of 12/],
  ['c1.CLUSTER.0:abc', /not a cursor of this log/],
  ['c1.CLUSTER.0:1~0d~0adata', /not a cursor of this log/],
])('the cursor %s is refused', async (cursor, reason) => {
  const { start, transport } = await serving()
  const api = await start()
  const text = cursor.replace('CLUSTER', transport.cluster)
  const refusal = await refusalOf(streamOf(api), await tokenFor('aurora'), { 'last-event-id': text })
  expect(refusal).toMatchObject({ status: 400, code: 'invalid_cursor', message: expect.stringMatching(reason) })
})

test('a place whose successors are gone is told in band, and the stream goes on with what is kept', async () => {
  const { start, raise, expire, transport } = await serving({ retentionMs: 1 })
  await raise(...some(60))
  const lost = `c1.${transport.cluster}.${Array.from({ length: 12 }, (_, partition) => `${partition}:0`)}`
  await expire()
  const kept = await raise(...some(5))
  for (const ringMs of [300_000, 0]) {
    const api = await start({ ringMs })
    const stream = await EventStream.open(streamOf(api), await tokenFor('aurora'), { 'last-event-id': lost })
    await stream.until(({ alertIds }) => alertIds.length === 5)
    expect(stream.alertIds.toSorted()).toEqual(kept.toSorted())
    const [reset] = stream.of('reset').map(({ data }) => JSON.parse(data))
    expect(reset).toMatchObject({ reason: 'retention', from: lost })
    expect(stream.events[0]).toMatchObject({ event: 'reset', id: reset.to })
    stream.close()
  }
})

test('a cursor beyond the end of the log is told in band as well', async () => {
  const { start, raise, transport } = await serving()
  const api = await start()
  const ahead = `c1.${transport.cluster}.0:1000000`
  const stream = await EventStream.open(streamOf(api), await tokenFor('aurora'), { 'last-event-id': ahead })
  await stream.until(({ events }) => events.length > 0)
  expect(JSON.parse(stream.events[0]?.data ?? '')).toMatchObject({
    reason: 'ahead',
    from: expect.stringContaining('0:1000000'),
  })
  const ids = await raise(...some(30))
  await stream.until(({ alertIds }) => alertIds.length === 30)
  expect(stream.alertIds.toSorted()).toEqual(ids.toSorted())
  stream.close()
})

test('without a token, with a bad one or without the scope nothing is opened', async () => {
  const { start } = await serving()
  const api = await start()
  const url = streamOf(api)
  expect(await refusalOf(url)).toMatchObject({ status: 401, code: 'credential_missing' })
  expect(await refusalOf(`${url}?access_token=a.b.c`)).toMatchObject({ status: 401, code: 'token_malformed' })
  expect(await refusalOf(url, await tokenFor('aurora', { expiresIn: -10 }))).toMatchObject({
    status: 401,
    code: 'token_expired',
  })
  expect(await refusalOf(url, await tokenFor('aurora', { scopes: ['ingest'] }))).toMatchObject({
    status: 403,
    code: 'scope_missing',
  })
  const signed = await fetch(url, { headers: { authorization: 'Basic eDp5' } })
  expect(signed.status).toBe(401)
})

test('a stream ends when its token expires, and says so', async () => {
  const { start } = await serving()
  const api = await start({ heartbeatMs: 100 })
  const stream = await EventStream.open(streamOf(api), await tokenFor('aurora', { expiresIn: 2 }))
  expect(stream.response.status).toBe(200)
  await stream.ended
  expect(JSON.parse(stream.of('end')[0]?.data ?? '')).toEqual({ reason: 'token_expired', cursor: stream.lastEventId })
})

test('a tenant has no more streams than it may, all together no more than the server takes, and closing one makes room', async () => {
  const { start } = await serving()
  const api = await start({ connectionsPerTenant: 2, maxConnections: 3 })
  const [aurora, birch] = await Promise.all([tokenFor('aurora'), tokenFor('birch')])
  const [first] = [await EventStream.open(streamOf(api), aurora), await EventStream.open(streamOf(api), aurora)]
  const tenth = await refusalOf(streamOf(api), aurora)
  expect(tenth).toMatchObject({ status: 429, code: 'too_many_connections', retryAfter: expect.stringMatching(/^\d+$/) })
  const other = await EventStream.open(streamOf(api), birch)
  expect(await refusalOf(streamOf(api), birch)).toMatchObject({
    status: 503,
    code: 'full',
    retryAfter: expect.stringMatching(/^\d+$/),
  })
  first.close()
  other.close()
  await expect
    .poll(async () => (await fetch(streamOf(api), { headers: { authorization: `Bearer ${aurora}` } })).status)
    .toBe(200)
})

test('each alert is encoded once, however many listen', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const count = async () => (await registry.getSingleMetric('weft_alerts_encoded_total')?.get())?.values[0]?.value ?? 0
  const token = await tokenFor('aurora')
  const streams = await Promise.all(
    some(25).map((_, i) => EventStream.open(streamOf(api, i % 2 ? '' : '?severity=warning'), token)),
  )
  const before = await count()
  await raise(...some(10))
  for (const stream of streams) (await stream.until(({ alertIds }) => alertIds.length === 10)).close()
  expect((await count()) - before).toBe(10)
})

test('a client of HTTP/1.0 gets the bare stream', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
  socket.write(`GET /v1/alerts/stream?access_token=${await tokenFor('aurora')} HTTP/1.0\r\n\r\n`)
  let received = ''
  socket.on('data', chunk => {
    received += chunk
  })
  await once(socket, 'data')
  const [id] = await raise({})
  await eventually(() => received).toContain(`"alert_id":"${id}"`)
  expect(received.slice(0, received.indexOf('\r\n\r\n')).toLowerCase()).not.toContain('transfer-encoding')
  expect(received.slice(received.indexOf('\r\n\r\n') + 4)).toMatch(/^retry: 2000\n\nid: c1\./)
  socket.destroy()
})

test('only origins that are configured may read, and a preflight tells which headers they may send', async () => {
  const { start } = await serving()
  const api = await start({ corsOrigins: ['https://shop.example'] })
  const token = await tokenFor('aurora')
  const open = (origin: string) => EventStream.open(streamOf(api), token, { origin })
  const [allowed, foreign] = [await open('https://shop.example'), await open('https://else.example')]
  expect(allowed.response.headers.get('access-control-allow-origin')).toBe('https://shop.example')
  expect(foreign.response.headers.get('access-control-allow-origin')).toBeNull()
  allowed.close()
  foreign.close()
  const preflight = await fetch(streamOf(api), {
    method: 'OPTIONS',
    headers: { origin: 'https://shop.example', 'access-control-request-method': 'GET' },
  })
  expect(preflight.headers.get('access-control-allow-headers')).toContain('last-event-id')
})

test('what is no alert is left out, and the stream goes on', async () => {
  const { start, raise, transport } = await serving()
  const api = await start({ heartbeatMs: 50 })
  const stream = await EventStream.open(streamOf(api), await tokenFor('aurora'))
  await transport.append({ name: 'alerts.v1' }, [
    { value: Buffer.from('no avro'), time: 0 },
    { value: null, key: Buffer.from('k'), time: 0 },
    { value: Buffer.from(''), time: 0, headers: [['weft-tick', Buffer.from('1')]] },
  ])
  const [id] = await raise({})
  await stream.until(({ alertIds }) => alertIds.length === 1)
  expect(stream.alertIds).toEqual([id])
  stream.close()
})
