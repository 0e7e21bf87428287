import type { Score } from '@weft/schema'
import { header } from '@weft/transport'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { alert, drive, parseRules } from '../src/index.ts'

const START = Date.UTC(2026, 2, 14, 12)
const GRACE = 1000
const MINUTE = 60_000
let made = 0

const scored = (score: number, ms = 0, about: Partial<Score> = {}): Score => ({
  score_id: `score-${made}`,
  store_id: 'aurora',
  user_id: 'u1',
  session_id: 's1',
  source_event_id: `e${made++}`,
  event_type: 'page_view',
  model_id: 'purchase-intent',
  model_version: '1',
  score,
  sent_at: START + ms,
  received_at: START + ms,
  scored_at: START + ms,
  ...about,
})

const alerting = (...rules: object[]) => drive(alert({ rules: parseRules(rules), graceMs: GRACE }))
const told = (stage: ReturnType<typeof alerting>) =>
  stage.written('alerts.v1').map(({ rule, state }) => `${rule} ${state}`)

test('a threshold raises once and clears only below its lower limit', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.8, clear: 0.6, severity: 'critical' })
  await stage.feed(...[0.7, 0.8, 0.95, 0.7, 0.61, 0.59, 0.7, 0.9].map((score, n) => scored(score, n)))
  expect(told(stage)).toEqual(['high raised', 'high cleared', 'high raised'])
  expect(stage.written('alerts.v1')[0]).toMatchObject({
    score: 0.8,
    threshold: 0.8,
    severity: 'critical',
    event_time: START + 1,
  })
})

test('a threshold looks only at the events it names, and not after one that excuses it', async () => {
  const rule = { name: 'lost', kind: 'threshold', raise: 0.5, on: 'session_end', unless: 'purchase' }
  const stage = alerting(rule)
  await stage.feed(scored(0.9), scored(0.9, 1, { event_type: 'session_end' }))
  const bought = { session_id: 's2' }
  await stage.feed(scored(0.9, 2, { ...bought, event_type: 'purchase' }))
  await stage.feed(scored(0.9, 3, { ...bought, event_type: 'session_end' }))
  expect(stage.written('alerts.v1').map(({ session_id }) => session_id)).toEqual(['s1'])
})

test('sessions of one user are watched apart', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.8 })
  await stage.feed(scored(0.9), scored(0.9, 1, { session_id: 's2' }), scored(0.9, 2))
  expect(stage.written('alerts.v1').map(({ session_id }) => session_id)).toEqual(['s1', 's2'])
})

test('a count raises when as many events lie within its time, and clears when they no longer do', async () => {
  const stage = alerting({ name: 'busy', kind: 'count', events: 'page_view', count: 3, within: '10s' })
  await stage.feed(scored(0, 0), scored(0, 6000), scored(0, 10_500))
  expect(told(stage)).toEqual([])
  await stage.feed(scored(0, 12_000), scored(0, 13_000))
  expect(told(stage)).toEqual(['busy raised'])
  expect(stage.written('alerts.v1')[0]).toMatchObject({ window_start: START + 6000, window_end: START + 12_001 })
  await stage.tick(START + 10_500 + 10_000 + GRACE)
  expect(told(stage)).toEqual(['busy raised', 'busy cleared'])
})

test('a count does not care in which order its events arrive', async () => {
  const stage = alerting({ name: 'busy', kind: 'count', events: 'page_view', count: 3, within: '10s' })
  const received_at = START + 6000
  await stage.feed(...[5000, 0, 3000].map(ms => scored(0, ms, { received_at })))
  expect(told(stage)).toEqual(['busy raised'])
})

test('a count that a late event raises again has alerts of its own', async () => {
  const stage = alerting({ name: 'busy', kind: 'count', events: 'page_view', count: 3, within: '10s' })
  await stage.feed(scored(0), scored(0), scored(0))
  await stage.tick(START + 10_000 + GRACE)
  await stage.feed(scored(0, 0, { received_at: START + 12_000 }))
  await stage.tick(START + 30_000)
  expect(told(stage)).toEqual(['busy raised', 'busy cleared', 'busy raised', 'busy cleared'])
  expect(new Set(stage.written('alerts.v1').map(({ alert_id }) => alert_id)).size).toBe(4)
})

const cart = { name: 'cart', kind: 'silence', after: 'add_to_cart', expect: 'purchase', within: '5m' }

test('silence after an event raises when its time and the grace period are over, by a tick alone', async () => {
  const stage = alerting(cart)
  await stage.feed(scored(0.4, 0, { event_type: 'add_to_cart' }))
  await stage.tick(START + 5 * MINUTE + GRACE - 1)
  expect(told(stage)).toEqual([])
  await stage.tick(START + 9 * MINUTE)
  expect(stage.written('alerts.v1')).toMatchObject([
    { rule: 'cart', state: 'raised', event_time: START + 5 * MINUTE, raised_at: START + 5 * MINUTE + GRACE },
  ])
})

test('the expected event ends the silence, also when it overtook what it follows or comes within the grace period', async () => {
  const stage = alerting(cart)
  const at = (event_type: string, ms: number, received = ms, session_id = 's1') =>
    scored(0, ms, { event_type, session_id, received_at: START + received })
  await stage.feed(at('add_to_cart', 0), at('purchase', MINUTE))
  await stage.feed(at('purchase', 2 * MINUTE, 2 * MINUTE, 's2'), at('add_to_cart', MINUTE, 2 * MINUTE, 's2'))
  await stage.feed(at('add_to_cart', 0, 2 * MINUTE, 's3'), at('purchase', 5 * MINUTE - 1, 5 * MINUTE + GRACE - 1, 's3'))
  await stage.tick(START + 60 * MINUTE)
  expect(told(stage)).toEqual([])
})

test('an event that is expected after its like ends one silence and begins the next', async () => {
  const stage = alerting({
    name: 'quiet',
    kind: 'silence',
    after: 'page_view',
    expect: ['page_view', 'session_end'],
    within: '1m',
  })
  const [s1, s2] = [{ session_id: 's1' }, { session_id: 's2' }]
  await stage.feed(scored(0, 0, s1), scored(0, 0, s2), scored(0, 50_000, s1), scored(0, 50_000, s2))
  const overtaken = { ...s2, received_at: START + 50_500 }
  await stage.feed(scored(0, 40_000, overtaken), scored(0, 100_000, { ...s1, event_type: 'session_end' }))
  await stage.tick(START + 60 * MINUTE)
  expect(stage.written('alerts.v1')).toMatchObject([{ session_id: 's2', event_time: START + 110_000 }])
})

test('the alert of a silence carries the tenant and the trace of the event it followed', async () => {
  const stage = alerting(cart)
  await stage.feed(scored(0.4, 0, { event_type: 'add_to_cart' }))
  await stage.tick(START + 9 * MINUTE)
  expect(stage.records('alerts.v1')[0]).toMatchObject({ key: 'aurora:u1', headers: [header('weft-tenant', 'aurora')] })
})

test('windows of 1 m, 5 m and 1 h tell events, scores and alerts of each entity when they close', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.8 })
  await stage.feed(scored(0.25), scored(0.9, 59_999), scored(0.5, MINUTE), scored(0.1, 2 * MINUTE, { user_id: 'u2' }))
  await stage.tick(START + 60 * MINUTE + GRACE)
  const shown = stage
    .written('alerts.analytics.v1')
    .map(({ entity, window, window_start, events, alerts, score_sum, score_max }) =>
      [entity, window, (window_start - START) / MINUTE, events, alerts, score_sum, score_max].join(' '),
    )
  expect(shown).toEqual([
    'aurora:u1 1m 0 2 1 1.15 0.9',
    'aurora:u1 1m 1 1 0 0.5 0.5',
    'aurora:u2 1m 2 1 0 0.1 0.1',
    'aurora:u1 5m 0 3 1 1.65 0.9',
    'aurora:u2 5m 0 1 0 0.1 0.1',
    'aurora:u1 1h 0 3 1 1.65 0.9',
    'aurora:u2 1h 0 1 0 0.1 0.1',
  ])
  expect(stage.written('alerts.analytics.v1')[0]).toMatchObject({ by_rule: { high: 1 }, by_severity: { warning: 1 } })
})

test('what comes after a window has closed goes to the side output, and still counts in those that are open', async () => {
  const stage = alerting()
  await stage.feed(scored(0.5, 3 * MINUTE), scored(0.4, 0, { received_at: START + 3 * MINUTE }))
  expect(stage.written('events.late.v1')).toMatchObject([
    {
      window: '1m',
      window_start: START,
      window_end: START + MINUTE,
      late_by_ms: 2 * MINUTE - GRACE,
      source_topic: 'signals.scores.v1',
    },
  ])
  await stage.tick(START + 60 * MINUTE + GRACE)
  const five = stage.written('alerts.analytics.v1').find(({ window }) => window === '5m')
  expect(five).toMatchObject({ events: 2, score_sum: 0.9 })
})

test("a sender's clock that is ahead moves no time: its event counts as of when it was received, the next is not late", async () => {
  const stage = alerting()
  await stage.feed(scored(0.5, 0, { sent_at: START + 365 * 86_400_000 }), scored(0.5, 1000))
  expect(stage.written('events.late.v1')).toEqual([])
  await stage.tick(START + MINUTE + GRACE)
  expect(stage.written('alerts.analytics.v1')).toMatchObject([{ window: '1m', events: 2 }])
})

test('rules come with a tick and apply from there on, with what their namesakes remember', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.9, clear: 0.5 })
  await stage.feed(scored(0.95), scored(0.7, 1, { session_id: 's2' }))
  const rules = parseRules([{ name: 'high', kind: 'threshold', raise: 0.6, clear: 0.5, severity: 'info' }])
  await stage.tick(START + 2, { 'weft-rules': JSON.stringify(rules) })
  await stage.feed(scored(0.95, 3), scored(0.7, 4, { session_id: 's2' }))
  expect(stage.written('alerts.v1').map(({ session_id, severity }) => `${session_id} ${severity}`)).toEqual([
    's1 warning',
    's2 info',
  ])
})

test('rules that make no sense are refused, and the ones before stay', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.6 })
  await stage.tick(START, { 'weft-rules': '[{"name":"x"}]' })
  await stage.tick(START, { 'weft-rules': 'nonsense' })
  await stage.feed(scored(0.7))
  expect(told(stage)).toEqual(['high raised'])
  expect(stage.counted('refused_rules')).toBe(2)
})

test('a rule for some tenants leaves the others alone', async () => {
  const stage = alerting({ name: 'high', kind: 'threshold', raise: 0.6, tenants: 'birch' })
  await stage.feed(scored(0.9), scored(0.9, 1, { store_id: 'birch' }))
  expect(stage.written('alerts.v1').map(({ store_id }) => store_id)).toEqual(['birch'])
})

test('nothing of a session and its windows stays in the state when they are over', async () => {
  const stage = alerting(cart, { name: 'busy', kind: 'count', events: 'page_view', count: 1, within: '10s' })
  for (let n = 0; n < 40; n++) {
    await stage.feed(
      scored(0.5, n * 100, { session_id: `s${n}`, user_id: `u${n}`, event_type: n % 2 ? 'page_view' : 'add_to_cart' }),
    )
  }
  expect(stage.entries).toBeGreaterThan(100)
  await stage.tick(START + 48 * 60 * MINUTE)
  expect(stage.entries).toBe(1)
})

test('all that is wrong with rules is told at once, with what would be right', () => {
  const rules = [
    { name: 'a', kind: 'threshold', raise: 2 },
    { name: 'a b', kind: 'count', events: [], count: 0, within: 'soon' },
    { kind: 'silent' },
    { name: 'c', kind: 'silence', after: 'x', expect: 'y', within: '1m', withn: 3 },
    7,
  ]
  expect(() => parseRules(rules)).toThrow(
    /rules\/0\/raise: is 2, expected a number from 0 to 1.*rules\/1\/name.*rules\/1\/events.*rules\/1\/count.*rules\/1\/within: is "soon", expected a duration.*rules\/2\/kind.*rules\/3\/withn: is unknown.*rules\/4: expected a rule/s,
  )
  expect(() =>
    parseRules([
      { name: 'a', kind: 'threshold', raise: 1 },
      { name: 'a', kind: 'threshold', raise: 1 },
    ]),
  ).toThrow('a is taken')
})

test('longer windows hold what the shorter ones held and what was late for those, whatever arrives when', async () => {
  const event = fc.record({
    at: fc.integer({ min: 0, max: 100 * MINUTE }),
    delay: fc.integer({ min: 0, max: 10 * MINUTE }),
    user_id: fc.constantFrom('u1', 'u2'),
    quarters: fc.integer({ min: 0, max: 4 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 40 }), fc.integer({ min: 1, max: 9 }), async (events, size) => {
      const stage = alerting({ name: 'high', kind: 'threshold', raise: 1, clear: 0 })
      const arrived = events.toSorted((a, b) => a.at + a.delay - b.at - b.delay)
      const scores = arrived.map(({ at, delay, user_id, quarters }) =>
        scored(quarters / 4, at, { user_id, received_at: START + at + delay }),
      )
      for (let from = 0; from < scores.length; from += size) await stage.feed(...scores.slice(from, from + size))
      await stage.tick(START + 5 * 60 * MINUTE)

      const expected = new Map<string, { events: number; sum: number }>()
      const late: string[] = []
      for (const { sent_at, received_at, user_id, score } of scores) {
        for (const [window, ms] of Object.entries({ '1m': MINUTE, '5m': 5 * MINUTE, '1h': 60 * MINUTE })) {
          const start = Math.floor(sent_at / ms) * ms
          const id = `aurora:${user_id} ${window} ${start}`
          if (start + ms + GRACE <= received_at) late.push(`${window} ${start}`)
          else {
            const { events, sum } = expected.get(id) ?? { events: 0, sum: 0 }
            expected.set(id, { events: events + 1, sum: sum + score })
          }
        }
      }
      const told = stage.written('alerts.analytics.v1')
      const counted = told.map(each => [
        `${each.entity} ${each.window} ${each.window_start}`,
        { events: each.events, sum: each.score_sum },
      ])
      expect(counted).toHaveLength(expected.size)
      expect(Object.fromEntries(counted)).toEqual(Object.fromEntries(expected))
      const missed = stage.written('events.late.v1').map(each => `${each.window} ${each.window_start}`)
      expect(missed.toSorted()).toEqual(late.toSorted())
    }),
    { numRuns: 100 },
  )
})
