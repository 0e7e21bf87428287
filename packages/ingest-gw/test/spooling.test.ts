import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Health } from '@weft/telemetry'
import { open, WeftError } from '@weft/transport'
import { expect, test } from 'vitest'
import { type GatewayOptions, startGateway } from '../src/index.ts'
import {
  auth,
  catalogue,
  type Logged,
  logged,
  makeDirectory,
  pageView,
  RAW,
  send,
  withAppend,
  world,
} from './fixture.ts'
import { type Outage, withOutages } from './outage.ts'

const idsOf = (events: readonly Logged[]) => events.map(({ event }) => event.event_id)

/** Per session, the ids in the order of the log, each where it came first. */
function firstsBySession(events: readonly Logged[]): Map<string, string[]> {
  const sessions = new Map<string, Set<string>>()
  for (const { event } of events) {
    const ids = sessions.get(event.session_id as string) ?? new Set()
    sessions.set(event.session_id as string, ids.add(event.event_id))
  }
  return new Map([...sessions].map(([session, ids]) => [session, [...ids]]))
}

/** A gateway with a spool over a log that can be away. */
async function spooling(options: Partial<GatewayOptions> = {}, spool: Partial<GatewayOptions['spool']> = {}) {
  const directory = await makeDirectory()
  const state = { outage: 'well' as Outage }
  const health = new Health()
  const it = await world(
    {
      health,
      spool: { directory: join(String(directory), 'spool'), reserveBytes: 0, patienceMs: 200, ...spool },
      ...options,
    },
    transport => withOutages(transport, () => state.outage),
  )
  return {
    ...it,
    spool: join(String(directory), 'spool'),
    health,
    away(outage: Outage) {
      state.outage = outage
    },
    back() {
      state.outage = 'well'
    },
    check: async () => (await health.ready()).checks['ingest-gw'],
    async [Symbol.asyncDispose]() {
      await it[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    },
  }
}

for (const outage of ['refused', 'unanswered', 'silent'] as const) {
  test(`while the log is ${outage}, events are spooled and say so, and are in the log in order when it is back`, async () => {
    await using it = await spooling()
    const before = [0, 1].map(n => pageView({ event_id: `b-${n}` }))
    for (const event of before) expect((await send(it.url, event)).body).not.toHaveProperty('spooled')
    it.away(outage)
    const alone = await send(it.url, pageView({ event_id: 'd-0' }))
    expect(alone).toMatchObject({ status: 202, body: { event_id: 'd-0', status: 'accepted', spooled: true } })
    const batch = await send(
      it.url,
      [1, 2].map(n => pageView({ event_id: `d-${n}` })),
    )
    expect(batch).toMatchObject({ status: 202, body: { accepted: 2, spooled: 2, results: [{ spooled: true }, {}] } })
    expect(await it.check()).toMatchObject({ ok: true, detail: expect.stringContaining('spooling: 3 events') })
    const metrics = await (await fetch(new URL('/metrics', it.url))).text()
    expect(metrics).toMatch(/^weft_ingest_spool_events 3$/m)
    expect(Number(/^weft_ingest_spool_bytes (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(300)
    expect(metrics).toMatch(/^weft_ingest_spool_oldest_seconds \d/m)
    it.back()
    // What is sent now goes behind what waits.
    await send(it.url, pageView({ event_id: 'a-0' }))
    await expect.poll(it.check, { timeout: 20_000 }).not.toMatchObject({ detail: expect.stringContaining('spooling') })
    await send(it.url, pageView({ event_id: 'a-1' }))
    await expect.poll(it.check, { timeout: 20_000 }).not.toMatchObject({ detail: expect.stringContaining('spooling') })
    const [ids = []] = [...firstsBySession(await logged(it.transport)).values()]
    expect(ids).toEqual(['b-0', 'b-1', 'd-0', 'd-1', 'd-2', 'a-0', 'a-1'])
    expect((await readdir(it.spool)).filter(name => name.endsWith('.spool'))).toEqual([])
  })
}

test('an append that is answered after its patience was over is not appended again', async () => {
  await using it = await spooling()
  it.away('silent')
  expect((await send(it.url, pageView({ event_id: 'slow' }))).body.spooled).toBe(true)
  it.back()
  await expect.poll(async () => (await it.check())?.detail, { timeout: 20_000 }).not.toContain('spooling')
  expect(idsOf(await logged(it.transport))).toEqual(['slow'])
})

test('an event that waits in the spool is a duplicate when it comes again, before and after a restart', async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  await using store = await open(`embedded:${join(directory, 'store')}`)
  await store.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === RAW.name))
  let outage: Outage = 'refused'
  const start = () =>
    startGateway({
      transport: withOutages(store, () => outage),
      catalogue,
      auth,
      directory: join(directory, 'gateway'),
      http: { port: 0 },
      https: false,
      spool: { directory: join(directory, 'spool'), reserveBytes: 0 },
    })
  const event = pageView({ event_id: 'once' })
  const headers = { 'idempotency-key': 'kept' }
  const keyed = [pageView({ session_id: 's-2' })]
  let answer: unknown
  {
    await using gateway = await start()
    const url = `${gateway.http}/v1/events`
    expect((await send(url, event)).status).toBe(202)
    expect(await send(url, event)).toMatchObject({ status: 200, body: { status: 'duplicate' } })
    answer = (await send(url, keyed, headers)).body
    expect(answer).toMatchObject({ accepted: 1, spooled: 1 })
  }
  {
    await using gateway = await start()
    const url = `${gateway.http}/v1/events`
    expect(await send(url, event)).toMatchObject({ status: 200, body: { status: 'duplicate' } })
    expect((await send(url, keyed, headers)).body).toEqual(answer)
    expect(await logged(store)).toEqual([])
    outage = 'well'
    await expect.poll(async () => (await logged(store)).length, { timeout: 20_000 }).toBe(2)
    expect(await send(url, event)).toMatchObject({ status: 200, body: { status: 'duplicate' } })
  }
  expect(await logged(store)).toHaveLength(2)
})

test('a spool at its bound refuses with 503 and Retry-After, keeps what it has, and takes again afterwards', async () => {
  await using it = await spooling({}, { maxBytes: 30_000 })
  it.away('refused')
  const kept: string[] = []
  let refused: Awaited<ReturnType<typeof send>> | undefined
  for (let n = 0; !refused; n++) {
    const answer = await send(it.url, pageView({ event_id: `e-${n}` }))
    if (answer.status === 202) kept.push(`e-${n}`)
    else refused = answer
  }
  expect(refused).toMatchObject({ status: 503, body: { error: { code: 'log_unavailable', retryable: true } } })
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(kept.length).toBeGreaterThan(30)
  expect(await it.check()).toMatchObject({ ok: false, detail: expect.stringContaining('the spool takes no more') })
  it.back()
  await expect.poll(async () => (await it.check())?.ok, { timeout: 20_000 }).toBe(true)
  await expect.poll(async () => (await logged(it.transport)).length, { timeout: 20_000 }).toBe(kept.length)
  expect(idsOf(await logged(it.transport))).toEqual(kept)
  expect((await send(it.url, pageView({ event_id: 'refused before' }))).status).toBe(202)
})

test('a disk without more than its reserve is not filled: 503 before', async () => {
  await using it = await spooling({}, { reserveBytes: Number.MAX_SAFE_INTEGER })
  it.away('refused')
  expect((await send(it.url, pageView())).status).toBe(503)
  it.back()
  expect((await send(it.url, pageView())).status).toBe(202)
})

test('what the log refuses for good is set aside, and nothing waits behind it', async () => {
  const directory = await makeDirectory()
  let outage: Outage = 'refused'
  await using it = await world(
    { spool: { directory: join(String(directory), 'spool'), reserveBytes: 0, patienceMs: 200 } },
    transport =>
      withAppend(
        withOutages(transport, () => outage),
        async (topic, messages, options) => {
          if (options?.partition !== undefined) return transport.append(topic, messages, options)
          if (outage === 'refused') throw new WeftError('UNAVAILABLE', 'the log is away')
          if (messages.some(({ value }) => Buffer.from(value ?? []).includes('too large')))
            throw new WeftError('TOO_LARGE', 'a message is larger than the log takes')
          return transport.append(topic, messages, options)
        },
      ),
  )
  const send3 = ['one', 'too large', 'three'].map(id => pageView({ event_id: id }))
  expect((await send(it.url, send3)).body.spooled).toBe(3)
  outage = 'well'
  await expect.poll(async () => idsOf(await logged(it.transport)), { timeout: 20_000 }).toEqual(['one', 'three'])
  await expect.poll(async () => (await send(it.url, pageView())).body.spooled, { timeout: 20_000 }).toBeUndefined()
  expect(await readdir(join(String(directory), 'spool', 'set-aside'))).toHaveLength(1)
  await directory[Symbol.asyncDispose]()
})

test('under steady load the spool comes to its end, and keys keep their order through several outages', async () => {
  await using it = await spooling()
  const SESSIONS = 8
  const sent = new Map<string, string[]>()
  let going = true
  const senders = Array.from({ length: SESSIONS }, async (_, s) => {
    const ids: string[] = []
    sent.set(`s-${s}`, ids)
    for (let n = 0; going; n++) {
      const event_id = `${s}-${n}`
      const { status } = await send(it.url, pageView({ event_id, session_id: `s-${s}` }))
      expect(status).toBe(202)
      ids.push(event_id)
    }
  })
  const spools = async () => /spooling/.test((await it.check())?.detail ?? '')
  for (const outage of ['refused', 'silent', 'unanswered'] as const) {
    it.away(outage)
    await expect.poll(spools, { timeout: 20_000 }).toBe(true)
    it.back()
    // While they go on sending.
    await expect.poll(spools, { timeout: 30_000 }).toBe(false)
  }
  going = false
  await Promise.all(senders)
  // On a busy machine an append may outlast its patience now and then.
  await expect.poll(spools, { timeout: 30_000 }).toBe(false)
  expect(firstsBySession(await logged(it.transport))).toEqual(sent)
})

test('a gateway without a spool refuses as before, one with it on a log that is well makes no file', async () => {
  let outage: Outage = 'refused'
  await using without = await world({}, transport => withOutages(transport, () => outage))
  expect((await send(without.url, pageView())).status).toBe(503)
  outage = 'well'
  await using it = await spooling()
  expect((await send(it.url, pageView())).status).toBe(202)
  await mkdir(it.spool, { recursive: true })
  expect((await readdir(it.spool)).filter(name => name.endsWith('.spool'))).toEqual([])
})
