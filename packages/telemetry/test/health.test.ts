import type { Lag, Running } from '@weft/transport'
import { expect, test } from 'vitest'
import { Health, stalled } from '../src/index.ts'

function member(lags: Partial<Lag>[], done: Promise<void> = new Promise(() => {})): Running {
  const whole = lags.map(lag => ({ topic: { name: 't' }, partition: 0, messages: 0, ms: 0, movedAt: 0, ...lag }))
  return { done, lag: async () => whole, async [Symbol.asyncDispose]() {} }
}

const now = () => 100_000

test('a health without probes is alive and ready', async () => {
  expect(await new Health().live()).toEqual({ ok: true, checks: {} })
  expect(await new Health().ready()).toEqual({ ok: true, checks: {} })
})

test('a red probe makes it not ready, and only a fatal one not alive', async () => {
  const health = new Health()
  const forget = health.add('store', () => ({ ok: false, detail: 'full' }))
  expect(await health.ready()).toEqual({ ok: false, checks: { store: { ok: false, detail: 'full' } } })
  expect((await health.live()).ok).toBe(true)
  health.add('task', () => ({ ok: false, fatal: true }))
  expect((await health.live()).ok).toBe(false)
  forget()
  expect(Object.keys((await health.ready()).checks)).toEqual(['task'])
})

test('a probe that throws or never answers is red', async () => {
  const health = new Health({ timeoutMs: 20 })
  health.add('throws', () => {
    throw new Error('boom')
  })
  health.add('hangs', () => new Promise(() => {}))
  const { ok, checks } = await health.ready()
  expect(ok).toBe(false)
  expect(checks).toEqual({
    throws: { ok: false, detail: 'boom' },
    hangs: { ok: false, detail: 'no answer within 20 ms' },
  })
})

test('two probes of one name both count', async () => {
  const health = new Health()
  health.add('task', () => ({ ok: true }))
  health.add('task', () => ({ ok: false }))
  expect(Object.keys((await health.ready()).checks)).toEqual(['task', 'task-2'])
  expect((await health.ready()).ok).toBe(false)
})

test('a member with lag that settles nothing is stalled, and says where', async () => {
  const probe = stalled(member([{ partition: 3, messages: 7, ms: 40_000, movedAt: 60_000 }]), 30_000, now)
  expect(await probe()).toEqual({ ok: false, fatal: true, detail: 'no progress for 30 s with lag: t/3 (7 waiting)' })
})

test('a member that is far behind and moves is not stalled', async () => {
  const probe = stalled(member([{ messages: 7_000, ms: 900_000, movedAt: 99_000 }]), 30_000, now)
  expect(await probe()).toEqual({ ok: true, detail: '7000 behind' })
})

test('a member that was idle for long and gets its first message is not stalled', async () => {
  const probe = stalled(member([{ messages: 1, ms: 5, movedAt: 0 }]), 30_000, now)
  expect((await probe()).ok).toBe(true)
})

test('a member that ended with an error is red for good, one that was stopped is not', async () => {
  const failed = stalled(member([], Promise.reject(new Error('the store is gone'))))
  const stopped = stalled(member([], Promise.resolve()))
  await Promise.resolve()
  expect(await failed()).toEqual({ ok: false, fatal: true, detail: 'ended: the store is gone' })
  expect((await stopped()).ok).toBe(true)
})
