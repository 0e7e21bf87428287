import { join } from 'node:path'
import { Health, registry } from '@weft/telemetry'
import { open, type Transport, WeftError } from '@weft/transport'
import { expect, type TestContext, test } from 'vitest'
import { startGateway } from '../src/index.ts'
import { auth, catalogue, logged, makeDirectory, pageView, RAW, send, withAppend } from './fixture.ts'
import { gate } from './gate.ts'
import { redisServer } from './redis.ts'

/** The transport whose readers stand still once `frozen`: a gateway on it learns nothing from the log. */
const withReads = (transport: Transport, state: { frozen: boolean }): Transport =>
  new Proxy(transport, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (name !== 'read') return typeof value === 'function' ? value.bind(target) : value
      return async function* (...args: Parameters<Transport['read']>) {
        for await (const batch of target.read(...args)) {
          const { signal } = args[1]
          while (state.frozen && !signal?.aborted) await new Promise(resolve => setTimeout(resolve, 5))
          yield batch
        }
      }
    },
  })

/** Two gateways on one log that hear of each other through Redis alone, if at all. */
async function pair(context: TestContext, { shared = true, wrap = (transport: Transport) => transport } = {}) {
  await using made = new AsyncDisposableStack()
  const redis = made.use(await redisServer(context))
  const directory = String(made.use(await makeDirectory()))
  const transport = made.use(await open(`embedded:${join(directory, 'store')}`))
  await transport.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === RAW.name))
  const state = { frozen: false }
  made.defer(() => {
    state.frozen = false
  })
  const health = new Health()
  const start = async (name: string, log: Transport) => {
    const gateway = made.use(
      await startGateway({
        transport: withReads(log, state),
        catalogue,
        auth,
        health,
        directory: join(directory, name),
        http: { port: 0 },
        https: false,
        ...(shared && { redis: { url: redis.url, leaseMs: 2000 } }),
      }),
    )
    return `${gateway.http}/v1/events`
  }
  const [one, two] = [await start('one', wrap(transport)), await start('two', transport)]
  state.frozen = true
  const all = made.move()
  return {
    one,
    two,
    redis,
    transport,
    cluster: transport.cluster,
    sharing: async () =>
      Object.values((await health.ready()).checks).every(({ ok, detail }) => ok && !/Redis/.test(detail ?? '')),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

const idsIn = async (transport: Transport) => (await logged(transport)).map(({ event }) => event.event_id)
const failures = async () =>
  Number(/^weft_ingest_redis_failures_total (\d+)$/m.exec(await registry.metrics())?.[1] ?? Number.NaN)

test('without Redis a repeat is stored again by a gateway that has not read the first: what the others are against', async context => {
  await using it = await pair(context, { shared: false })
  const event = pageView({ event_id: 'twice' })
  expect((await send(it.one, event)).body.status).toBe('accepted')
  expect((await send(it.two, event)).body.status).toBe('accepted')
  expect(await idsIn(it.transport)).toEqual(['twice', 'twice'])
})

test('a repeat at another gateway is a duplicate at once, alone and in a batch', async context => {
  await using it = await pair(context)
  const event = pageView({ event_id: 'once' })
  expect((await send(it.one, event)).body.status).toBe('accepted')
  expect(await send(it.two, event)).toMatchObject({ status: 200, body: { status: 'duplicate' } })
  const batch = [event, pageView({ event_id: 'new' }), pageView({ event_id: 'new' })]
  expect(await send(it.two, batch)).toMatchObject({
    status: 202,
    body: { accepted: 1, duplicate: 2, results: [{ status: 'duplicate' }, { status: 'accepted' }, {}] },
  })
  expect((await send(it.one, batch)).body).toMatchObject({ accepted: 0, duplicate: 3 })
  expect(await idsIn(it.transport)).toEqual(['once', 'new'])
})

test('an event sent to both gateways a hundred times at once is stored once', async context => {
  await using it = await pair(context)
  const event = pageView({ event_id: 'crowd' })
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => send(n % 2 ? it.one : it.two, event)))
  const statuses = answers.map(({ body }) => body.status)
  expect(statuses.filter(status => status === 'accepted')).toHaveLength(1)
  expect(statuses.filter(status => status === 'duplicate')).toHaveLength(99)
  expect(await idsIn(it.transport)).toEqual(['crowd'])
})

test('an id whose append failed at one gateway is told as 503 at the other, and may then be sent again', async context => {
  const held = gate()
  await using it = await pair(context, { wrap: held.wrap })
  held.close()
  const event = pageView({ event_id: 'unlucky' })
  const first = send(it.one, event)
  await held.arrived()
  const second = send(it.two, event)
  const client = it.redis.client()
  await expect.poll(() => client.info('commandstats')).toContain('cmdstat_mget')
  held.fail(new WeftError('UNAVAILABLE', 'gone'))
  for (const answer of [await first, await second])
    expect(answer).toMatchObject({ status: 503, body: { error: { code: 'log_unavailable', retryable: true } } })
  expect((await send(it.two, event)).body.status).toBe('accepted')
  expect(await idsIn(it.transport)).toEqual(['unlucky'])
})

test('an id that was reserved by a gateway that died and stored nothing never passes for a duplicate', async context => {
  await using it = await pair(context)
  await it.redis.client().set(`weft:${it.cluster}:event:aurora/orphan`, 'the token of a dead gateway', 'PX', 500)
  const event = pageView({ event_id: 'orphan' })
  expect((await send(it.two, event)).status).toBe(503)
  expect((await send(it.two, event)).body.status).toBe('accepted')
  expect((await send(it.one, event)).body.status).toBe('duplicate')
})

test('an Idempotency-Key is known to both: its answer, another body, and that it is in flight', async context => {
  const held = gate()
  await using it = await pair(context, { wrap: held.wrap })
  const headers = { 'idempotency-key': 'k1' }
  held.close()
  const working = send(it.one, [pageView()], headers)
  await held.arrived()
  expect(await send(it.two, [pageView()], headers)).toMatchObject({
    status: 409,
    body: { error: { code: 'idempotency_key_in_flight' } },
  })
  held.open()
  const first = await working
  const again = await send(it.two, [pageView()], headers)
  expect([again.status, again.body, again.headers.get('idempotency-replayed')]).toEqual([202, first.body, 'true'])
  expect((await send(it.two, [pageView({ session_id: 'x' })], headers)).status).toBe(422)
  expect(await idsIn(it.transport)).toHaveLength(1)
})

test('a Redis that is stopped costs each gateway one time-out, and is used again when it goes on', async context => {
  await using it = await pair(context)
  await send(it.one, pageView({ event_id: 'before' }))
  const before = await failures()
  it.redis.stop()
  for (let n = 0; n < 30; n++)
    for (const url of [it.one, it.two]) expect((await send(url, pageView())).status).toBe(202)
  // One claim each, and what was on its way with it.
  expect((await failures()) - before).toBeLessThanOrEqual(4)
  expect(await it.sharing()).toBe(false)
  it.redis.go()
  await expect.poll(it.sharing, { timeout: 20_000 }).toBe(true)
  const event = pageView({ event_id: 'after' })
  expect((await send(it.one, event)).body.status).toBe('accepted')
  expect((await send(it.two, event)).body.status).toBe('duplicate')
  expect((await send(it.two, pageView({ event_id: 'before' }))).body.status).toBe('duplicate')
})

test('a gateway starts without its Redis, goes on when it is killed, and shares again when it is back', async context => {
  await using it = await pair(context)
  await it.redis.kill()
  const event = pageView({ event_id: 'meanwhile' })
  const headers = { 'idempotency-key': 'k2' }
  expect((await send(it.one, event)).body.status).toBe('accepted')
  expect((await send(it.one, event)).body.status).toBe('duplicate')
  const keyed = await send(it.one, [pageView()], headers)
  expect((await send(it.one, [pageView()], headers)).body).toEqual(keyed.body)
  await using directory = await makeDirectory()
  await using alone = await startGateway({
    transport: withAppend(it.transport, it.transport.append.bind(it.transport)),
    catalogue,
    auth,
    directory: String(directory),
    http: { port: 0 },
    https: false,
    redis: { url: it.redis.url },
  })
  expect((await send(`${alone.http}/v1/events`, pageView({ event_id: 'cold' }))).status).toBe(202)
  await it.redis.start()
  await expect.poll(it.sharing, { timeout: 20_000 }).toBe(true)
  // What Redis has forgotten the gateway that stored it still knows, and tells it anew.
  expect((await send(it.one, event)).body.status).toBe('duplicate')
  await expect.poll(async () => (await send(it.two, event)).body.status).toBe('duplicate')
})
