import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { signToken } from '@weft/auth'
import { loadCatalogue } from '@weft/schema'
import { open } from '@weft/transport'
import { expect, test } from 'vitest'
import { contents, differences, faultsOfAnswers, faultsOfCopies, faultsOfMinutes } from './exactly-once/accounting.ts'
import { drained, processed, RULES, SECRET, shoppers, starter } from './exactly-once/fabric.ts'
import { listenByRest, listenBySse } from './exactly-once/listeners.ts'
import { type Random, randomOf } from './exactly-once/random.ts'
import type { Told } from './exactly-once/shopper.ts'
import { Supervised } from './exactly-once/supervised.ts'
import { temporary, Weft } from './spawned.ts'

/** How long everything is under fire; then all that was sent has to arrive. */
const FIRE_MS = 20_000
const catalogue = await loadCatalogue()
/** A service of another process is seen as dead after a second and a half. */
const embedded = (folder: string) => `embedded:${path.join(folder, '.weft')}?sessionMs=1500`
const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** Kills one after the other, most often one that is at work, and lets a pipeline fall asleep at times. */
async function underFire(services: readonly Supervised[], random: Random, signal: AbortSignal): Promise<number> {
  let kills = 0
  const asleep = new Set<Supervised>()
  const sleeping: Promise<unknown>[] = []
  while (!signal.aborted) {
    await pause(random.between(200, 1_200))
    const service = random.of(services)
    if (asleep.has(service) || (!service.places && random() < 0.8)) continue
    if (service.name === 'pipeline' && random() < 0.2) {
      asleep.add(service)
      sleeping.push(service.freeze(random.between(300, 3_000)).finally(() => asleep.delete(service)))
    } else {
      await service.kill()
      kills++
    }
  }
  await Promise.all(sleeping)
  return kills
}

test('whatever is killed while events pour in, each is processed and each alert told exactly once', {
  timeout: 240_000,
}, async () => {
  console.info(`exactly once: WEFT_SEED=${seed}`)
  const random = randomOf(seed)
  await using folder = await temporary()
  await writeFile(path.join(folder.path, 'weft.yaml'), RULES)
  const log = embedded(folder.path)
  const service = starter(folder.path, log)
  await using stack = new AsyncDisposableStack()
  const gateway = stack.use(service('ingest-gw'))
  const api = stack.use(service('alerts-api'))
  const pipelines = [1, 2, 3].map(() => stack.use(service('pipeline')))
  const services = [gateway, api, ...pipelines]
  await Promise.all(services.map(each => each.ready))

  const told: Told = new Map()
  let lost = 0
  const stop = new AbortController()
  const over = new AbortController()
  stack.defer(() => over.abort())
  const events = () => gateway.places?.http
  const shopping = shoppers(events, random, told, stop.signal, () => lost++)
  const token = await signToken(SECRET, { tenant: '*', scopes: ['alerts:read'], expiresIn: 600 })
  const listening = { url: () => api.places?.dashboard, token, random: randomOf(random.between(0, 2 ** 30)) }
  const bySse = listenBySse({ ...listening, signal: over.signal })
  const byRest = listenByRest({ ...listening, signal: over.signal })
  const firing = underFire(services, random, stop.signal)
  await Promise.race([pause(FIRE_MS), ...shopping, bySse.done, byRest.done])
  stop.abort()
  const kills = await firing
  await Promise.all(services.map(each => each.ready))
  await Promise.all(shopping)

  await using transport = await open(log)
  await drained(transport, catalogue)
  const alerts = await contents(transport, catalogue, 'alerts.v1')
  for (const heard of [bySse, byRest])
    while (heard.ids.length < alerts.length) await Promise.race([pause(20), heard.done])
  over.abort()
  await Promise.all([bySse.done, byRest.done])
  expect(await Promise.all(services.map(each => each.stop()))).toEqual(services.map(() => 0))

  const raw = await contents(transport, catalogue, 'events.raw.v1')
  const validated = await contents(transport, catalogue, 'events.validated.v1')
  const scores = await contents(transport, catalogue, 'signals.scores.v1')
  const analytics = await contents(transport, catalogue, 'alerts.analytics.v1')
  const late = await contents(transport, catalogue, 'events.late.v1')
  const letters = await contents(transport, catalogue, 'events.dlq.v1')
  console.info(
    `${raw.length} events, ${lost} requests without an answer, ${kills} kills, ${alerts.length} alerts, ${late.length} late, SSE came back ${bySse.resumed} times`,
  )
  const ids = alerts.map(({ value }) => value.alert_id)
  expect([
    ...faultsOfAnswers(told, raw),
    ...faultsOfCopies(
      'events.validated.v1',
      raw,
      validated.map(({ key, value }) => ({ key, id: value.event_id })),
    ),
    ...faultsOfCopies(
      'signals.scores.v1',
      raw,
      scores.map(({ key, value }) => ({ key, id: value.source_event_id })),
    ),
    ...faultsOfMinutes(scores, alerts, analytics, late),
    ...differences('alerts.v1', [...new Set(ids)], ids),
    ...differences('alerts by SSE', ids, bySse.ids),
    ...differences('alerts by REST', ids, byRest.ids),
    ...[...bySse.resets, ...byRest.resets].map(reset => `alerts were left out: ${reset}`),
    ...letters.map(({ value }) => `dead letter: ${value.error_code} ${value.error_reason}`),
  ]).toEqual([])
  // What would make the test say nothing.
  expect({ kills, lost, alerts: alerts.length }).toMatchObject({
    kills: expect.toSatisfy(n => n > 3),
    lost: expect.toSatisfy(n => n > 0),
    alerts: expect.toSatisfy(n => n > 20),
  })
})

test('without transactions the same accounting finds what was done twice', { timeout: 240_000 }, async () => {
  console.info(`exactly once, control: WEFT_SEED=${seed}`)
  const random = randomOf(seed)
  await using folder = await temporary()
  const log = embedded(folder.path)
  const service = starter(folder.path, log)
  await using stack = new AsyncDisposableStack()
  const gateway = stack.use(service('ingest-gw'))
  await gateway.ready
  const script = fileURLToPath(new URL('exactly-once/naive.ts', import.meta.url))
  const naive = [1, 2].map(() =>
    stack.use(new Supervised('naive', () => new Weft([log], { cwd: folder.path, script }))),
  )
  await Promise.all(naive.map(each => each.ready))

  const told: Told = new Map()
  const stop = new AbortController()
  const shopping = shoppers(
    () => gateway.places?.http,
    random,
    told,
    stop.signal,
    () => {},
  )
  await using transport = await open(log)
  const faults = async () => {
    const validated = await contents(transport, catalogue, 'events.validated.v1')
    const copies = validated.map(({ key, value }) => ({ key, id: value.event_id }))
    return faultsOfCopies('events.validated.v1', await contents(transport, catalogue, 'events.raw.v1'), copies)
  }
  const isTwice = (fault: string) => /is there [2-9] times/.test(fault)
  for (let kills = 0; kills < 40 && !(await faults()).some(isTwice); kills++) {
    await Promise.all(naive.map(each => each.ready))
    await pause(random.between(100, 400))
    await random.of(naive).kill()
  }
  stop.abort()
  await Promise.all(shopping)
  await processed(transport, ['naive'])
  expect((await faults()).filter(isTwice)).not.toEqual([])
})
