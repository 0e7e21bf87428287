import { connect } from 'node:net'
import { registry } from '@weft/telemetry'
import { type Transport, WeftError } from '@weft/transport'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EventStream } from './event-stream.ts'
import { eventually, serving, some, tokenFor } from './serving.ts'

type Read = Transport['read']

/** The transport with its reading of alerts.v1 put through `through`. */
const reading = (transport: Transport, through: (read: Read) => Read): Transport =>
  new Proxy(transport, {
    get(target, name) {
      if (name === 'read') return through(target.read.bind(target))
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

const open = ({ url }: { url: string }, token: string, query = '') =>
  EventStream.open(`${url}/v1/alerts/stream${query}`, token)

test('a log that fails again and again delays alerts, and loses and repeats none', async () => {
  const { start, raise, transport } = await serving()
  const failing = reading(
    transport,
    read =>
      async function* (topic, options) {
        let left = 3
        for await (const batch of read(topic, { ...options, maxBytes: 2_000 })) {
          if (topic.name === 'alerts.v1' && left-- === 0) throw new WeftError('UNAVAILABLE', 'the disk is away')
          yield batch
        }
      },
  )
  const ids: string[] = []
  const api = await start({ transport: failing })
  const stream = await open(api, await tokenFor('aurora'))
  await stream.until(({ events }) => events.length > 0)
  for (let i = 0; i < 8; i++) ids.push(...(await raise(...some(5))))
  await stream.until(({ alertIds }) => alertIds.length === ids.length)
  expect(stream.alertIds.toSorted()).toEqual(ids.toSorted())
  stream.close()
})

test('when retention overtakes a server that could not read, those who follow live are told the gap', async () => {
  const { start, raise, expire, transport } = await serving({ retentionMs: 1 })
  let gate = Promise.withResolvers<void>()
  gate.resolve()
  const gated = reading(
    transport,
    read =>
      async function* (topic, options) {
        for await (const batch of read(topic, { ...options, maxBytes: 500 })) {
          if (topic.name === 'alerts.v1') await gate.promise
          yield batch
        }
      },
  )
  const api = await start({ transport: gated, ringMs: 0 })
  const stream = await open(api, await tokenFor('aurora'))
  const before = await raise(...some(3))
  await stream.until(({ alertIds }) => alertIds.length === 3)
  gate = Promise.withResolvers<void>()
  await raise(...some(60))
  await expire()
  const kept = await raise(...some(30))
  gate.resolve()
  await stream.until(({ alertIds }) => kept.every(id => alertIds.includes(id)))
  const [reset, ...more] = stream.of('reset')
  expect(more).toEqual([])
  const { reason, from, to } = JSON.parse(reset?.data ?? '')
  expect(reason).toBe('retention')
  expect(from).not.toBe(to)
  expect(new Set(stream.alertIds).size).toBe(stream.alertIds.length)
  expect(stream.alertIds.slice(0, 3).toSorted()).toEqual(before.toSorted())
  stream.close()
})

test('a thousand that come and go leave nothing behind', async () => {
  const { start, raise } = await serving()
  const api = await start({ connectionsPerTenant: 200 })
  const token = await tokenFor('aurora')
  const count = async () => (await registry.getSingleMetric('weft_alerts_connections')?.get())?.values[0]?.value ?? 0
  const before = await count()
  for (let round = 0; round < 10; round++) {
    const streams = await Promise.all(
      some(100).map((_, i) => open(api, token, `?entity=${i}&from=${i % 2 ? 'earliest' : 'latest'}`)),
    )
    await raise(...some(5))
    for (const stream of streams) stream.close()
  }
  await eventually(count).toBe(before)
  const ids = await raise(...some(3))
  const last = await open(api, token, '?from=earliest')
  await last.until(({ alertIds }) => ids.every(id => alertIds.includes(id)))
  expect(last.alertIds).toHaveLength(53)
  last.close()
})

test('streams that are pipelined on one connection are one stream', async () => {
  const { start, raise } = await serving()
  const { url } = await start({ connectionsPerTenant: 3 })
  const path = `/v1/alerts/stream?access_token=${await tokenFor('aurora')}`
  const request = `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(request.repeat(5))
  let received = ''
  socket.on('data', chunk => {
    received += chunk
  })
  await eventually(() => received).toContain('event: cursor')
  const [id] = await raise({})
  await eventually(() => received).toContain(`"alert_id":"${id}"`)
  expect(received.match(/HTTP\/1.1 200/g)).toHaveLength(1)
  expect(received.match(/event: alert/g)).toHaveLength(1)
  socket.destroy()
  const streams = () => Promise.all(some(3).map(() => fetch(url + path)))
  await eventually(async () => (await streams()).map(({ status }) => status)).toEqual([200, 200, 200])
})

test('no query whatever is answered by a fault of ours', async () => {
  const { start, raise, transport } = await serving()
  await raise(...some(5))
  const { url } = await start()
  const token = await tokenFor('aurora')
  const name = fc.constantFrom(
    'cursor',
    'from',
    'last_event_id',
    'limit',
    'severity',
    'state',
    'rule',
    'entity',
    'tenant',
    'access_token',
    '__proto__',
    'a',
  )
  const piece = fc.constantFrom(
    'earliest',
    'c1.',
    transport.cluster,
    '.',
    ':',
    ',',
    '0',
    '-1',
    '99',
    '~',
    '~00',
    '%',
    '%0d%0a',
    'critical',
    'aurora',
    '2026-01-01',
    '1e9',
    'é',
    '\u0000',
  )
  const value = fc.array(piece, { maxLength: 6 }).map(pieces => pieces.join(''))
  const query = fc
    .array(fc.tuple(name, value), { maxLength: 4 })
    .map(pairs => pairs.map(([name, value]) => `${name}=${encodeURI(value)}`).join('&'))
  await fc.assert(
    fc.asyncProperty(
      query,
      fc.constantFrom('/v1/alerts', '/v1/alerts/stream', '/v1/stats', '/v1/alerts/ws'),
      async (query, path) => {
        const abort = new AbortController()
        const response = await fetch(`${url}${path}?${query}`, {
          headers: { authorization: `Bearer ${token}` },
          signal: abort.signal,
        })
        abort.abort()
        expect(response.status).toBeLessThan(500)
      },
    ),
    { numRuns: 300 },
  )
})
