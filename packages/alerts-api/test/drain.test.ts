import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { EventStream } from './event-stream.ts'
import { serving, some, tokenFor } from './serving.ts'

test('at shutdown clients are sent away over a while, each told where to resume and when to come back', async () => {
  const { start, raise } = await serving()
  const api = await start({ drainMs: 600 })
  const token = await tokenFor('aurora')
  const url = `${api.url}/v1/alerts/stream`
  const streams = await Promise.all(some(12).map(() => EventStream.open(url, token)))
  const socket = new WebSocket(`${api.url.replace('http', 'ws')}/v1/alerts/ws?access_token=${token}`)
  const closed = new Promise(resolve => socket.on('close', (code, reason) => resolve([code, String(reason)])))
  for (const stream of streams) await stream.until(({ events }) => events.length > 0)
  const stats = await EventStream.open(`${api.url}/v1/stats/stream`, token)
  const ids = await raise(...some(5))
  const order: number[] = []
  const ends = streams.map((stream, i) => stream.ended.then(() => order.push(i)))
  const stopping = api[Symbol.asyncDispose]()
  await expect(fetch(url, { headers: { authorization: `Bearer ${token}` } })).rejects.toThrow()
  await Promise.race(ends)
  expect(order.length).toBeLessThan(12)
  await stopping
  await Promise.all(ends)
  await stats.ended
  expect(await closed).toEqual([1012, 'shutdown'])
  expect(stats.of('end').map(({ data }) => JSON.parse(data))).toEqual([{ reason: 'shutdown' }])
  for (const stream of streams) {
    const [end] = stream.of('end')
    expect(JSON.parse(end?.data ?? '')).toEqual({ reason: 'shutdown', cursor: stream.lastEventId })
  }
  expect(new Set(streams.map(({ retry }) => retry)).size).toBeGreaterThan(6)
  // Whatever a stream has not shown yet comes when it resumes.
  const again = await start()
  for (const stream of streams.slice(0, 3)) {
    const resumed = await EventStream.open(`${again.url}/v1/alerts/stream`, token, {
      'last-event-id': stream.lastEventId,
    })
    const [late] = await raise({})
    await resumed.until(({ alertIds }) => alertIds.at(-1) === late || alertIds.includes(late as string))
    await resumed.until(({ alertIds }) => ids.every(id => [...alertIds, ...stream.alertIds].includes(id)))
    expect([...resumed.alertIds, ...stream.alertIds].filter(id => ids.includes(id)).toSorted()).toEqual(ids.toSorted())
    resumed.close()
  }
})

test('disposing with nobody connected is quick, and twice is harmless', async () => {
  const { start } = await serving()
  const api = await start({ drainMs: 60_000 })
  await api[Symbol.asyncDispose]()
  await api[Symbol.asyncDispose]()
})
