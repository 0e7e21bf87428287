import type { Transport } from '@weft/transport'
import { expect, test } from 'vitest'
import type { AlertsApi } from '../src/index.ts'
import { EventStream } from './event-stream.ts'
import { serving, some, tokenFor } from './serving.ts'

/** The same log merged in another order: whichever partition comes, in an order of chance. */
function shuffled(transport: Transport): Transport {
  async function* read(...[topic, options]: Parameters<Transport['read']>) {
    const { partitions } = await transport.admin.describe(topic)
    const stop = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal
    const readers = Array.from({ length: partitions }, (_, partition) => {
      const reader = transport.read(topic, { ...options, signal, partitions: [partition], maxBytes: 1_000 })
      return reader[Symbol.asyncIterator]()
    })
    const next = (partition: number) =>
      (readers[partition] as (typeof readers)[0]).next().then(result => ({ partition, result }))
    const pending = new Map(readers.map((_, partition) => [partition, next(partition)]))
    try {
      while (pending.size > 0) {
        const ready = [...pending.values()].sort(() => Math.random() - 0.5)
        const { partition, result } = await Promise.race(ready)
        if (result.done) pending.delete(partition)
        else {
          pending.set(partition, next(partition))
          yield result.value
        }
      }
    } finally {
      stop.abort()
    }
  }
  return new Proxy(transport, {
    get(target, name) {
      if (name === 'read') return read
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

test('clients that hop between instances a thousand times miss nothing and get nothing twice', async () => {
  const { start, raise, transport } = await serving()
  // Heartbeats make those look again who wait for more than there will be.
  const instances: AlertsApi[] = [
    await start({ coalesceMs: 2, heartbeatMs: 100 }),
    await start({ transport: shuffled(transport), coalesceMs: 5, heartbeatMs: 100 }),
    // Keeps next to nothing in memory, so whoever comes must be read from the log.
    await start({ transport: shuffled(transport), ringBytes: 20_000, heartbeatMs: 100 }),
  ]
  const token = await tokenFor('aurora')
  const filters = ['', '&severity=critical', '&severity=info,warning&rule=a']
  const clients = filters.flatMap(filter =>
    Array.from({ length: 17 }, () => ({ filter, cursor: '', seen: [] as string[], hops: 0 })),
  )
  const wanted = new Map<string, string[]>(filters.map(filter => [filter, []]))
  let isOver = false

  async function produce() {
    for (let round = 0; round < 80; round++) {
      const alerts = Array.from({ length: 10 }, () => ({
        severity: (['info', 'warning', 'critical'] as const)[Math.floor(Math.random() * 3)] ?? 'info',
        rule: Math.random() < 0.5 ? 'a' : 'b',
      }))
      const ids = await raise(...alerts)
      for (const [i, { severity, rule }] of alerts.entries()) {
        const id = ids[i] as string
        wanted.get(filters[0] as string)?.push(id)
        if (severity === 'critical') wanted.get(filters[1] as string)?.push(id)
        else if (rule === 'a') wanted.get(filters[2] as string)?.push(id)
      }
      await new Promise(setImmediate)
    }
    isOver = true
  }

  async function hop(client: (typeof clients)[0], enough: (stream: EventStream) => boolean) {
    const { url } = instances[Math.floor(Math.random() * instances.length)] as AlertsApi
    const headers: Record<string, string> = client.cursor ? { 'last-event-id': client.cursor } : {}
    const stream = await EventStream.open(`${url}/v1/alerts/stream?from=earliest${client.filter}`, token, headers)
    await stream.until(enough)
    stream.close()
    // The connection may have broken after any of them.
    const kept = stream.events.slice(0, 1 + Math.floor(Math.random() * stream.events.length))
    for (const { event, data, id } of kept) {
      if (event === 'alert') client.seen.push(JSON.parse(data).alert_id)
      expect(['alert', 'cursor']).toContain(event)
      client.cursor = id
    }
    client.hops++
  }

  async function follow(client: (typeof clients)[0]) {
    while (!isOver || client.hops < 20) {
      const some = Math.floor(Math.random() * 25)
      await hop(client, ({ events }) => events.length > (isOver ? 0 : some))
    }
    const missing = () => (wanted.get(client.filter) as string[]).length - client.seen.length
    while (missing() > 0) {
      const left = missing()
      await hop(client, ({ alertIds }) => alertIds.length >= left)
    }
  }

  await Promise.all([produce(), ...clients.map(follow)])
  for (const { filter, seen } of clients) expect(seen.toSorted()).toEqual(wanted.get(filter)?.toSorted())
  expect(clients.reduce((hops, client) => hops + client.hops, 0)).toBeGreaterThan(1_000)
})

test('a client goes on where it was after the server has been started anew', async () => {
  const { start, raise } = await serving()
  const token = await tokenFor('aurora')
  const before = await start()
  const stream = await EventStream.open(`${before.url}/v1/alerts/stream`, token)
  await stream.until(({ events }) => events.length > 0)
  const seen = await raise(...some(30))
  await stream.until(({ alertIds }) => alertIds.length === 30)
  await before[Symbol.asyncDispose]()
  await stream.ended
  const missed = await raise(...some(40))
  for (const ringMs of [300_000, 0]) {
    const after = await start({ ringMs })
    const resumed = await EventStream.open(`${after.url}/v1/alerts/stream`, token, {
      'last-event-id': stream.lastEventId,
    })
    await resumed.until(({ alertIds }) => alertIds.length === 40)
    expect(resumed.alertIds.toSorted()).toEqual(missed.toSorted())
    resumed.close()
  }
  expect(stream.alertIds.toSorted()).toEqual(seen.toSorted())
})
