import type { Alert } from '@weft/schema'
import { expect, test } from 'vitest'
import { drive, intervene, settle } from '../src/index.ts'

const START = Date.UTC(2026, 2, 14, 12)
const HOUR = 3_600_000

const raised = (ms: number, about: Partial<Alert> = {}): Alert => ({
  alert_id: `alert-${ms}`,
  store_id: 'aurora',
  user_id: 'u1',
  session_id: 's1',
  entity: 'aurora:u1',
  rule: 'lost',
  severity: 'critical',
  state: 'raised',
  score: 0.7,
  threshold: 0.5,
  message: 'score 0.700 reached 0.5 at session_end',
  source_event_id: 'e1',
  window_start: null,
  window_end: null,
  event_time: START + ms,
  raised_at: START + ms,
  received_at: START + ms,
  ...about,
})

const intervening = () => drive(intervene([{ rule: 'lost', type: 'email', cooldownMs: HOUR }]))

test('a raised alert becomes a command, others become nothing', async () => {
  const stage = intervening()
  await stage.feed(raised(0, { rule: 'other' }), raised(1, { state: 'cleared' }), raised(2))
  expect(stage.written('interventions.commands.v1')).toMatchObject([
    { store_id: 'aurora', user_id: 'u1', session_id: 's1', type: 'email', origin: 'rule_engine', issued_at: START + 2 },
  ])
  expect(JSON.parse(stage.written('interventions.commands.v1')[0]?.payload ?? '')).toMatchObject({
    rule: 'lost',
    score: 0.7,
  })
})

test('an entity is left alone until its cooldown is over, others are not', async () => {
  const stage = intervening()
  await stage.feed(raised(0), raised(HOUR - 1), raised(HOUR - 1, { entity: 'aurora:u2', user_id: 'u2' }), raised(HOUR))
  expect(stage.written('interventions.commands.v1').map(({ user_id }) => user_id)).toEqual(['u1', 'u2', 'u1'])
  expect(stage.counted('cooling')).toBe(1)
})

test('the same alerts give the same commands, byte for byte', async () => {
  const [one, two] = [intervening(), intervening()]
  await one.feed(raised(0), raised(2 * HOUR))
  await two.feed(raised(0))
  await two.feed(raised(2 * HOUR))
  expect(two.records('interventions.commands.v1')).toEqual(
    one.records('interventions.commands.v1').map(each => ({ ...each, source: expect.anything() })),
  )
})

test('a command reported more than once has one result, the first', async () => {
  const stage = drive(settle())
  const receipt = (status: string, ms: number) => ({
    command_id: 'c1',
    store_id: 'aurora',
    user_id: null,
    session_id: null,
    status,
    error_reason: null,
    delivered_at: START,
    attempts: 1,
    reported_at: START + ms,
  })
  await stage.feed(receipt('success', 0), receipt('failed', 1))
  await stage.feed(receipt('success', 2))
  expect(stage.written('interventions.results.v1')).toMatchObject([{ command_id: 'c1', status: 'success' }])
  expect(stage.written('interventions.results.v1')[0]).not.toHaveProperty('reported_at')
  expect(stage.counted('duplicate')).toBe(2)
})
