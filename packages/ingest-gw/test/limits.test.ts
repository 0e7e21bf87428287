import { headerOf, WeftError } from '@weft/transport'
import { describe, expect, test } from 'vitest'
import { DrainRate } from '../src/drain-rate.ts'
import { InFlight, RateLimit } from '../src/limits.ts'
import { logged, pageView, send, type World, world } from './fixture.ts'
import { gate } from './gate.ts'

const birch = { authorization: 'Bearer wk_birch_test' }
const large = (n: number) =>
  Array.from({ length: 20 }, (_, i) => pageView({ event_id: `l-${n}-${i}`, payload: { own: 'x'.repeat(400) } }))

describe("a tenant's rate", () => {
  test('lets a burst pass, then tells by Retry-After when the events will fit', () => {
    const limit = new RateLimit({ rate: 10, burst: 20 })
    limit.take('a', 20, 0)
    expect(() => limit.take('a', 20, 0)).toThrow(expect.objectContaining({ code: 'rate_limited', retryAfter: 2 }))
    expect(() => limit.take('a', 5, 0)).toThrow(expect.objectContaining({ retryAfter: 1 }))
    limit.take('b', 20, 0)
    limit.take('a', 20, 2000)
  })

  test('takes a batch larger than the burst from a full bucket, which is in debt then', () => {
    const limit = new RateLimit({ rate: 10, burst: 20 })
    limit.take('a', 100, 0)
    expect(() => limit.take('a', 1, 0)).toThrow(expect.objectContaining({ retryAfter: 9 }))
    limit.take('a', 1, 8100)
  })

  test('may be its own, and answers 429 before the body is read once the bucket is empty', async () => {
    await using it = await world({ limits: { tenants: { aurora: { rate: 0.001, burst: 2 } } } })
    expect((await send(it.url, [pageView(), pageView()])).status).toBe(202)
    const refused = await send(it.url, 'this is not even JSON')
    expect(refused).toMatchObject({ status: 429, body: { error: { code: 'rate_limited', retryable: true } } })
    expect(refused.headers.get('retry-after')).toBe('60')
    expect((await send(it.url, pageView(), birch)).status).toBe(202)
  })
})

describe('bytes in flight', () => {
  test('are shared: a flood gets half, and whoever comes new still finds room', () => {
    const inFlight = new InFlight(1000, 1000, () => 100)
    const flood: { release(): void }[] = []
    expect(() => {
      for (;;) flood.push(inFlight.take('flood', 10))
    }).toThrow(expect.objectContaining({ code: 'overloaded', retryAfter: 1 }))
    expect(inFlight.of('flood')).toBe(500)
    expect(() => inFlight.take('flood', 300)).toThrow(expect.objectContaining({ retryAfter: 3 }))
    inFlight.take('new', 200)
    for (const lease of flood) lease.release()
    for (const lease of flood) lease.release()
    expect(inFlight.bytes).toBe(200)
  })

  test('may be exceeded by a request that is alone, so that none is too large for ever', () => {
    const inFlight = new InFlight(100, 100, () => 1)
    const alone = inFlight.take('a', 5000)
    expect(() => inFlight.take('b', 1)).toThrow(/no room/)
    alone.release()
    inFlight.take('b', 1)
  })

  test('drain at a rate that is measured over the time in which there was something to drain', () => {
    const drain = new DrainRate()
    drain.took(1000, 0, 1000)
    expect(drain.bytesPerSecond).toBe(1000)
    drain.took(1000, 90_000, 91_000)
    expect(drain.bytesPerSecond).toBeCloseTo(1000)
    // Two appends under way at once: twice the bytes in the same time.
    for (let at = 100_000; at < 160_000; at += 1000) {
      drain.took(1000, at, at + 1000)
      drain.took(1000, at, at + 1000)
    }
    expect(drain.bytesPerSecond).toBeGreaterThan(1900)
  })

  test("of one tenant's flood neither refuse another's event nor hold it up", async () => {
    const held = gate()
    await using it: World = await world({ limits: { maxInFlightBytes: 200_000 } }, held.wrap)
    held.close()
    const flood = Array.from({ length: 60 }, (_, n) => send(it.url, large(n)))
    const refused = (await Promise.race(flood)) as Awaited<(typeof flood)[number]>
    expect(refused).toMatchObject({ status: 429, body: { error: { code: 'overloaded', retryable: true } } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    const before = held.appends.length
    const small = send(it.url, pageView({ event_id: 'small' }), birch)
    const refusedToo = send(it.url, '[', birch)
    // Answered after the small one was taken, which therefore waits for the log alone.
    expect((await refusedToo).status).toBe(400)
    held.open()
    expect((await small).status).toBe(202)
    const first = held.appends.findIndex(messages =>
      messages.some(message => headerOf(message, 'weft-tenant') === 'birch'),
    )
    expect(first).toBeLessThanOrEqual(before)
    const statuses = (await Promise.all(flood)).map(({ status }) => status)
    expect(new Set(statuses)).toEqual(new Set([202, 429]))
    const stored = statuses.filter(status => status === 202).length
    expect(await logged(it.transport)).toHaveLength(stored * 20 + 1)
  })
})

describe('a log that cannot take events', () => {
  test('is told as 503 with Retry-After, nothing of the request is stored, and readiness is red until it heals', async () => {
    const { Health } = await import('@weft/telemetry')
    const health = new Health()
    const held = gate()
    await using it = await world({ health }, held.wrap)
    const ready = async () => (await fetch(new URL('/readyz', it.url))).status
    expect(await ready()).toBe(200)
    held.close()
    const request = send(it.url, [pageView(), pageView()])
    await held.arrived()
    held.fail(new WeftError('UNAVAILABLE', 'no space left on /var/lib/secret'))
    const answer = await request
    expect(answer).toMatchObject({ status: 503, body: { error: { code: 'log_unavailable', retryable: true } } })
    expect(answer.headers.get('retry-after')).toBe('1')
    expect(JSON.stringify(answer.body)).not.toMatch(/space|var/)
    expect(await logged(it.transport)).toEqual([])
    expect(await ready()).toBe(503)
    held.close()
    held.open()
    expect((await send(it.url, pageView())).status).toBe(202)
    expect(await ready()).toBe(200)
  })

  test('for a reason that is ours is told as 500, without a word about why', async () => {
    const held = gate()
    await using it = await world({}, held.wrap)
    held.close()
    const request = send(it.url, pageView())
    await held.arrived()
    held.fail(new TypeError('cannot read properties of undefined'))
    const answer = await request
    expect(answer).toMatchObject({ status: 500, body: { error: { code: 'internal' } } })
    expect(JSON.stringify(answer.body)).not.toMatch(/undefined|stack|TypeError/)
    held.close()
    held.open()
  })
})
