import { text } from '@weft/transport'
import { expect, test } from 'vitest'
import { drive, validate } from '../src/index.ts'
import { raw, START, views } from './events.ts'

const HOUR = 3_600_000

test('a right event comes out with when and by what it was checked', async () => {
  const stage = drive(validate())
  const event = views('product', 1000)
  await stage.feed(event)
  expect(stage.written('events.validated.v1')).toEqual([
    { ...event, validated_at: START + 1000, validated_by: 'validate', schema_version: '1' },
  ])
})

test('the same event id of a tenant counts as a duplicate for 24 hours and is new after', async () => {
  const stage = drive(validate())
  const at = (ms: number) => ({ event_id: 'same', sent_at: START + ms })
  await stage.feed(views('product', 0, at(0)), views('product', 0, at(1)))
  await stage.feed(views('product', 0, at(24 * HOUR - 1)))
  expect(stage.counted('duplicate')).toBe(2)
  expect(stage.written('events.validated.v1')).toHaveLength(1)
  await stage.feed(views('product', 0, at(24 * HOUR)))
  expect(stage.written('events.validated.v1')).toHaveLength(2)
})

test('equal event ids of two tenants are two events', async () => {
  const stage = drive(validate())
  await stage.feed(views('product', 0, { event_id: 'x' }), views('product', 0, { event_id: 'x', store_id: 'birch' }))
  expect(stage.written('events.validated.v1')).toHaveLength(2)
})

test('forgotten ids leave the state with the ticks', async () => {
  const stage = drive(validate({ dedupeMs: 1000 }))
  await stage.feed(...Array.from({ length: 50 }, (_, n) => views('product', n)))
  const full = stage.entries
  await stage.tick(START + 5000)
  expect(full).toBeGreaterThan(50)
  expect(stage.entries).toBeLessThan(3)
})

const bad = {
  UNKNOWN_TYPE: raw('page_veiw', { elapsed_ms: 1 }),
  MALFORMED_PAYLOAD: { ...views('product', 1), payload: '{"elapsed_ms":' },
  INVALID_PAYLOAD: raw('page_view', { elapsed_ms: 'soon', page: 'product' }, { sent_at: START }),
  WRONG_TENANT: { ...views('product', 1), store_id: '' },
  INVALID_ID: views('product', 1, { event_id: '' }),
  CLOCK_AHEAD: views('product', 1, { received_at: START * 2 }),
  INVALID_TIME: views('product', 1, { sent_at: -5, received_at: START }),
}

test.each(Object.entries(bad))(
  '%s: a bad event goes to the dead letters with its reason and origin',
  async (code, event) => {
    const stage = drive(validate())
    await stage.feed(event)
    expect(stage.written('events.validated.v1')).toEqual([])
    const [letter] = stage.written('events.dlq.v1')
    expect(letter).toMatchObject({
      error_code: code,
      store_id: event.store_id,
      event_id: event.event_id,
      consumer: 'validate',
    })
    expect(letter).toMatchObject({ original_topic: 'events.raw.v1', original_position: '0', original_partition: 0 })
    expect(letter?.error_reason).toMatch(/expected|not JSON/)
  },
)

test('a bad event is not remembered: repaired under the same id it goes through', async () => {
  const stage = drive(validate())
  await stage.feed(raw('page_view', { elapsed_ms: 1 }, { event_id: 'again' }))
  await stage.feed(raw('page_view', { elapsed_ms: 1, page: 'product' }, { event_id: 'again' }))
  expect(stage.written('events.validated.v1')).toHaveLength(1)
})

test('a dead letter keeps the key and the tenant for the repair', async () => {
  const stage = drive(validate())
  await stage.feed(raw('nonsense', {}))
  const [letter] = stage.written('events.dlq.v1')
  expect(text(letter?.original_key ?? Buffer.of())).toBe('aurora:s1')
  expect(letter?.original_headers.map(({ name, value }) => [name, text(value)])).toEqual([['weft-tenant', 'aurora']])
})

test('ids that no key could hold are refused', async () => {
  const stage = drive(validate())
  await stage.feed(views('product', 1, { user_id: 'u'.repeat(257) }), views('product', 1, { session_id: '' }))
  expect(stage.written('events.dlq.v1').map(({ error_code }) => error_code)).toEqual(['INVALID_ID', 'INVALID_ID'])
})
