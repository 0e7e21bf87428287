import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import { redisForTests, stop } from '@weft/local/for-tests'
import { loadCatalogue } from '@weft/schema'
import { Health } from '@weft/telemetry'
import { afterAll, expect, test } from 'vitest'
import { runTask, validate } from '../src/index.ts'
import { contents, processed, temporaryStore } from './store.ts'

const SENDERS = 6
const catalogue = await loadCatalogue()
const auth = createAuth({ writeKeys: { wk_aurora_test: 'aurora' } })
/** Of its own: it is stopped and killed. */
const folder = await mkdtemp(join(tmpdir(), 'weft-redis-'))
const redis = await redisForTests(folder)
const endRedis = () => stop(join(folder, 'redis'), { signal: 'SIGKILL' })
afterAll(async () => {
  await endRedis()
  await rm(folder, { recursive: true, force: true })
})

if (redis === undefined)
  test.skip('gateways that share ids by a Redis that dies: not run here, see the last lines', () => {})
else
  test('two gateways whose Redis hangs, dies and comes back lose no event and bring none twice to events.validated.v1', {
    timeout: 120_000,
  }, async () => {
    await using store = await temporaryStore(catalogue)
    const { transport } = store
    await using stack = new AsyncDisposableStack()
    const directory = await mkdtemp(join(tmpdir(), 'weft-gateways-'))
    stack.defer(() => rm(directory, { recursive: true, force: true }))
    const task = { name: 'ingest', stages: [validate()] }
    stack.use(await runTask(transport, catalogue, task))
    const health = new Health()
    const start = async (name: string) => {
      const options = { transport, catalogue, auth, health, directory: join(directory, name), http: { port: 0 } }
      const gateway = stack.use(await startGateway({ ...options, https: false, redis: { url: redis.url } }))
      return `${gateway.http}/v1/events`
    }
    const urls = [await start('one'), await start('two')] as const
    const sharing = async () =>
      Object.values((await health.ready()).checks).every(({ ok, detail }) => ok && !/Redis/.test(detail ?? ''))

    let going = true
    const taken = Array.from({ length: SENDERS }, (): string[] => [])
    /** To one, to the other, to both at once: until one of them has it. */
    const post = async (url: string, event_id: string, s: number): Promise<boolean> => {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'x-write-key': 'wk_aurora_test', 'content-type': 'application/json' },
        body: JSON.stringify({
          event_id,
          type: 'page_view',
          session_id: `s-${s}`,
          payload: { elapsed_ms: 1, page: 'product' },
        }),
      })
      await response.text()
      expect([200, 202, 503]).toContain(response.status)
      return response.ok
    }
    const sending = taken.map(async (ids, s) => {
      while (going) {
        const id = `${s}-${ids.length}`
        const stored = await Promise.all(urls.map(url => post(url, id, s)))
        if (stored.includes(true)) ids.push(id)
      }
    })
    const count = () => taken.reduce((sum, ids) => sum + ids.length, 0)
    const more = async (events: number) => {
      const from = count()
      await expect.poll(() => count() - from, { timeout: 30_000 }).toBeGreaterThan(events)
    }
    await more(50)
    process.kill(redis.pid, 'SIGSTOP')
    await more(50)
    expect(await sharing()).toBe(false)
    process.kill(redis.pid, 'SIGCONT')
    await expect.poll(sharing, { timeout: 20_000 }).toBe(true)
    await more(50)
    await endRedis()
    await more(50)
    await redisForTests(folder)
    await expect.poll(sharing, { timeout: 20_000 }).toBe(true)
    await more(50)
    going = false
    await Promise.all(sending)

    await processed(transport, [task])
    const codec = catalogue.codec('events.validated.v1')
    const ids = (await contents(transport, 'events.validated.v1')).map(message => codec.decode(message).event_id)
    expect(ids.toSorted()).toEqual(taken.flat().toSorted())
  })
