import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eventsOf, mixed, play, type ShopEvent, sessions } from '../index.ts'

const some = mixed(sessions()).slice(0, 40)
const atOnce = { speed: Number.POSITIVE_INFINITY, rate: Number.POSITIVE_INFINITY, rounds: 1, sessions: some, run: 'r' }
const expected = some.flatMap(session => eventsOf(session, 0, 'r').map(event => event.event_id))

type Respond = (event: ShopEvent, request: IncomingMessage, response: ServerResponse) => void

/** A gateway's door that answers as the test wants. */
async function listen(respond: Respond) {
  const events: ShopEvent[] = []
  const state = { events, connections: 0, url: '' }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const event = JSON.parse(body) as ShopEvent
    events.push(event)
    respond(event, request, response)
  })
  server.on('connection', () => state.connections++)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state
}
const take: Respond = (_, __, response) => response.writeHead(202).end('{}')

describe('the player', () => {
  it('sends every event of every session, each session in its order, over connections that it keeps', async () => {
    const gateway = await listen(take)
    expect(await play({ urls: [gateway.url], ...atOnce })).toEqual({ events: expected.length, sessions: some.length })
    expect(gateway.events.map(event => event.event_id).sort()).toEqual([...expected].sort())
    for (const session of some) {
      const sent = gateway.events.filter(event => event.user_id === `shopper-${session.row}`)
      expect(sent.map(event => event.payload)).toEqual(eventsOf(session, 0, 'r').map(event => event.payload))
    }
    expect(gateway.connections).toBeLessThanOrEqual(64)
  })

  it('says who it is and when it sends', async () => {
    const keys = new Set<string | undefined>()
    const before = Date.now()
    const gateway = await listen((event, request, response) => {
      keys.add(request.headers.authorization)
      take(event, request, response)
    })
    await play({ urls: [gateway.url], ...atOnce })
    expect([...keys].sort()).toEqual(['Bearer wk_aurora_demo', 'Bearer wk_birch_demo', 'Bearer wk_cobalt_demo'])
    for (const { sent_at } of gateway.events) {
      expect(Date.parse(sent_at)).toBeGreaterThanOrEqual(before)
      expect(Date.parse(sent_at)).toBeLessThanOrEqual(Date.now())
    }
  })

  it('has many sessions under way at once', async () => {
    const started = new Set<string>()
    const ended = new Set<string>()
    let most = 0
    const gateway = await listen((event, request, response) => {
      if (event.type === 'session_end') ended.add(event.session_id)
      else started.add(event.session_id)
      most = Math.max(most, started.size - ended.size)
      take(event, request, response)
    })
    await play({ urls: [gateway.url], ...atOnce })
    expect(most).toBeGreaterThan(20)
  })

  it('loses nothing and reorders nothing when answers fail to come, and sends the same event again', async () => {
    const seen = new Map<string, number>()
    const gateway = await listen((event, request, response) => {
      const times = (seen.get(event.event_id) ?? 0) + 1
      seen.set(event.event_id, times)
      if (times === 1 && seen.size % 37 === 0) request.socket.destroy()
      else if (times === 1 && seen.size % 41 === 0) response.writeHead(500).end()
      else take(event, request, response)
    })
    const played = await play({ urls: [gateway.url], ...atOnce })
    expect(played.events).toBe(expected.length)
    expect([...seen.keys()].sort()).toEqual([...expected].sort())
    expect(Math.max(...seen.values())).toBeGreaterThan(1)
    for (const session of some) {
      const ids = gateway.events
        .filter(event => event.user_id === `shopper-${session.row}`)
        .map(event => event.event_id)
      expect([...new Set(ids)]).toEqual(eventsOf(session, 0, 'r').map(event => event.event_id))
      // Again at once, before the session goes on.
      expect(ids.filter((id, index) => id !== ids[index - 1])).toHaveLength(new Set(ids).size)
    }
  })

  it('waits as long as Retry-After says', async () => {
    const refusedAt = new Map<string, number>()
    const waits: number[] = []
    const gateway = await listen((event, request, response) => {
      const refused = refusedAt.get(event.event_id)
      if (refused !== undefined) waits.push(Date.now() - refused)
      if (event.type !== 'session_end' || refused !== undefined) return take(event, request, response)
      refusedAt.set(event.event_id, Date.now())
      response.writeHead(refusedAt.size % 2 ? 429 : 503, { 'retry-after': '1' }).end()
    })
    await play({ urls: [gateway.url], ...atOnce })
    expect(waits).toHaveLength(some.length)
    // A timer may fire up to a millisecond early.
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(999)
  })

  it('plays another round as other sessions of the same shoppers', async () => {
    const gateway = await listen(take)
    const played = await play({ urls: [gateway.url], ...atOnce, rounds: 2 })
    expect(played.sessions).toBe(2 * some.length)
    expect(new Set(gateway.events.map(event => event.event_id)).size).toBe(2 * expected.length)
    expect(new Set(gateway.events.map(event => event.session_id)).size).toBe(2 * some.length)
    expect(new Set(gateway.events.map(event => event.user_id)).size).toBe(some.length)
  })

  it('has other ids in every run that does not name itself', async () => {
    const gateway = await listen(take)
    const first = some.slice(0, 1)
    await play({ urls: [gateway.url], ...atOnce, sessions: first, run: undefined })
    const until = Date.now() + 1
    while (Date.now() <= until) await new Promise(resolve => setImmediate(resolve))
    await play({ urls: [gateway.url], ...atOnce, sessions: first, run: undefined })
    expect(new Set(gateway.events.map(event => event.event_id)).size).toBe(gateway.events.length)
  })

  it('spreads sessions over gateways', async () => {
    const gateways = [await listen(take), await listen(take)]
    await play({ urls: gateways.map(gateway => gateway.url), ...atOnce })
    const [left, right] = gateways.map(({ events }) => new Set(events.map(event => event.session_id))) as [
      Set<string>,
      Set<string>,
    ]
    expect(left.size + right.size).toBe(some.length)
    expect(Math.min(left.size, right.size)).toBeGreaterThan(0)
  })

  it('stops at once when told to, whatever it waits for', async () => {
    const stop = new AbortController()
    const gateway = await listen((event, request, response) => {
      if (gateway.events.length === 30) stop.abort()
      if (event.type === 'session_start' && event.session_id.length % 2) return // is never answered
      if (event.type === 'page_view') response.writeHead(503, { 'retry-after': '3600' }).end()
      else take(event, request, response)
    })
    const { events, sessions: done } = await play({
      urls: [gateway.url],
      speed: 1_000_000,
      rate: 1_000_000,
      signal: stop.signal,
    })
    expect(done).toBe(0)
    expect(events).toBeLessThan(gateway.events.length)
    expect(await play({ urls: [gateway.url], signal: stop.signal })).toEqual({ events: 0, sessions: 0 })
  })

  it('takes its time when a session is slowed down a millionfold', async () => {
    const stop = new AbortController()
    const gateway = await listen((event, request, response) => {
      take(event, request, response)
      if (gateway.events.length === some.length) setTimeout(() => stop.abort(), 50)
    })
    // The gaps between pages are now weeks, more than a timer can hold.
    await play({ ...atOnce, urls: [gateway.url], speed: 1e-6, signal: stop.signal })
    expect(new Set(gateway.events.map(event => event.type))).toEqual(new Set(['session_start']))
  })

  it('goes on when the gateway was away', async () => {
    let away = true
    const gateway = await listen((event, request, response) => {
      if (away) request.socket.destroy()
      else take(event, request, response)
      if (gateway.events.length === 50) away = false
    })
    expect((await play({ urls: [gateway.url], ...atOnce })).events).toBe(expected.length)
  })

  it('fails with what the gateway says when it is refused for good', async () => {
    const gateway = await listen((_, __, response) => response.writeHead(401).end('{"message":"the key is not known"}'))
    await expect(play({ urls: [gateway.url], ...atOnce })).rejects.toThrow(
      /refused session_start .* 401: .*the key is not/,
    )
  })

  it('refuses a speed that no time can pass at, and to play to nobody', async () => {
    await expect(play({ urls: ['http://127.0.0.1:1'], speed: 0 })).rejects.toThrow('speed must be above 0, and is 0')
    await expect(play({ urls: ['http://127.0.0.1:1'], rate: Number.NaN })).rejects.toThrow('rate must be above 0')
    await expect(play({ urls: [] })).rejects.toThrow('no gateway')
  })
})

describe('the mixed order', () => {
  it('has every session once', () => {
    const rows = mixed(sessions()).map(session => session.row)
    expect(new Set(rows).size).toBe(12_330)
    expect(rows.slice(0, 3)).toEqual([0, 7_919, 3_508])
  })
})
