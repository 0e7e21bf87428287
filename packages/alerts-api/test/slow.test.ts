import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { registry } from '@weft/telemetry'
import { expect, onTestFinished, test } from 'vitest'
import { EventStream } from './event-stream.ts'
import { eventually, serving, some, tokenFor } from './serving.ts'

/** More than the buffers of the kernel and of fetch hold, so that the rest waits in the server. */
const FLOOD = some(20, { message: 'x'.repeat(20_000) })
const FLOODS = 35

const metric = async (name: string, labels: Record<string, string> = {}) => {
  const values = (await registry.getSingleMetric(name)?.get())?.values ?? []
  return (
    values.find(({ labels: own }) => Object.entries(labels).every(([key, value]) => own[key] === value))?.value ?? 0
  )
}

async function idsAfter(url: string, token: string, cursor: string): Promise<string[]> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(`${url}/v1/alerts?limit=1000&cursor=${cursor}`, { headers })
  const { alerts, more } = (await response.json()) as { alerts: { alert_id: string }[]; more: boolean }
  expect(more).toBe(false)
  return alerts.map(({ alert_id }) => alert_id)
}

test('a slow client of drop-to-latest skips what it cannot take, is told the gap, and goes on live', async () => {
  const { start, raise } = await serving()
  const api = await start({ slow: 'drop-to-latest', maxQueuedBytes: 1_000_000, stallMs: 60_000 })
  const token = await tokenFor('aurora')
  const reading = Promise.withResolvers<void>()
  const slow = await EventStream.open(`${api.url}/v1/alerts/stream`, token, {}, reading.promise)
  const quick = await EventStream.open(`${api.url}/v1/alerts/stream`, token)
  const all: string[] = []
  for (let i = 0; i < FLOODS; i++) {
    all.push(...(await raise(...FLOOD)))
    await quick.until(({ alertIds }) => alertIds.length === all.length)
  }
  expect(await metric('weft_alerts_queued_bytes')).toBeLessThan(1_500_000)
  reading.resolve()
  await slow.until(stream => stream.of('reset').length > 0)
  const { reason, from, to } = JSON.parse(slow.of('reset')[0]?.data ?? '')
  expect(reason).toBe('slow')
  const after = await raise({})
  await slow.until(({ alertIds }) => alertIds.at(-1) === after[0])
  const behind = await idsAfter(api.url, token, to)
  const skipped = (await idsAfter(api.url, token, from)).filter(id => !behind.includes(id))
  expect(skipped.length).toBeGreaterThan(100)
  expect([...slow.alertIds, ...skipped].toSorted()).toEqual([...all, ...after].toSorted())
  slow.close()
  quick.close()
})

test('a slow client of disconnect is sent away with the cursor from which it misses nothing', async () => {
  const { start, raise } = await serving()
  const api = await start({ slow: 'disconnect', maxQueuedBytes: 100_000, lingerMs: 20_000 })
  const token = await tokenFor('aurora')
  const reading = Promise.withResolvers<void>()
  const slow = await EventStream.open(`${api.url}/v1/alerts/stream`, token, {}, reading.promise)
  const all: string[] = []
  for (let i = 0; i < FLOODS; i++) all.push(...(await raise(...FLOOD)))
  await eventually(() => metric('weft_alerts_ended_total', { reason: 'slow' })).toBe(1)
  reading.resolve()
  await slow.ended
  const { reason, cursor } = JSON.parse(slow.of('end')[0]?.data ?? '')
  expect([reason, cursor]).toEqual(['slow', slow.lastEventId])
  const got = [...slow.alertIds]
  // What it missed can come faster than it reads as well: then it is sent away once more.
  for (let after: string = cursor; got.length < all.length; ) {
    const resumed = await EventStream.open(`${api.url}/v1/alerts/stream`, token, { 'last-event-id': after })
    const left = all.length - got.length
    await resumed.until(stream => stream.alertIds.length >= left || stream.of('end').length > 0)
    got.push(...resumed.alertIds)
    after = resumed.lastEventId ?? after
    resumed.close()
  }
  expect(got.toSorted()).toEqual(all.toSorted())
})

/** A client that takes nothing more once it is connected. */
async function deaf({ url }: { url: string }, token: string, from = 'latest'): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(`GET /v1/alerts/stream?from=${from}&access_token=${token} HTTP/1.1\r\nHost: h\r\n\r\n`)
  await once(socket, 'data')
  onTestFinished(() => void socket.destroy())
  return socket.pause()
}

test('one that never takes anything is cut off', async () => {
  const { start, raise } = await serving()
  const api = await start({ slow: 'drop-to-latest', maxQueuedBytes: 100_000, stallMs: 200, heartbeatMs: 100 })
  const before = await metric('weft_alerts_connections', { kind: 'sse' })
  await deaf(api, await tokenFor('aurora'))
  expect(await metric('weft_alerts_connections', { kind: 'sse' })).toBe(before + 1)
  for (let i = 0; i < FLOODS; i++) await raise(...FLOOD)
  await eventually(() => metric('weft_alerts_connections', { kind: 'sse' })).toBe(before)
})

test('all together hold no more than the total: those that hold most are cut off', async () => {
  const { start, raise } = await serving()
  const api = await start({ maxQueuedBytes: 50_000_000, maxTotalQueuedBytes: 3_000_000 })
  const token = await tokenFor('aurora')
  await Promise.all([deaf(api, token), deaf(api, token), deaf(api, token)])
  for (let i = 0; i < FLOODS; i++) await raise(...FLOOD)
  await eventually(() => metric('weft_alerts_ended_total', { reason: 'memory' })).toBeGreaterThan(0)
  await eventually(() => metric('weft_alerts_queued_bytes')).toBeLessThanOrEqual(3_000_000)
})

test('catching up goes no faster than the client takes it', async () => {
  const { start, raise } = await serving()
  const all: string[] = []
  for (let i = 0; i < FLOODS; i++) all.push(...(await raise(...FLOOD)))
  const token = await tokenFor('aurora')
  for (const ringMs of [300_000, 0]) {
    const api = await start({ ringMs, ringBytes: 200_000_000, maxQueuedBytes: 100_000 })
    const reading = Promise.withResolvers<void>()
    const slow = await EventStream.open(`${api.url}/v1/alerts/stream?from=earliest`, token, {}, reading.promise)
    const live = await raise({})
    all.push(...live)
    await eventually(() => metric('weft_alerts_queued_bytes')).toBeGreaterThan(0)
    expect(await metric('weft_alerts_queued_bytes')).toBeLessThan(500_000)
    reading.resolve()
    await slow.until(({ alertIds }) => alertIds.length === all.length)
    expect(slow.alertIds.toSorted()).toEqual(all.toSorted())
    slow.close()
  }
})

test('those who take nothing of what is read for them keep nobody else from catching up', async () => {
  const { start, raise } = await serving()
  const all: string[] = []
  for (let i = 0; i < FLOODS; i++) all.push(...(await raise(...FLOOD)))
  const api = await start({ ringMs: 0 })
  const token = await tokenFor('aurora')
  await Promise.all(some(20).map(() => deaf(api, token, 'earliest')))
  const quick = await EventStream.open(`${api.url}/v1/alerts/stream?from=earliest`, token)
  await quick.until(({ alertIds }) => alertIds.length === all.length)
  quick.close()
})
