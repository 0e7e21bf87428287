import type { EventValidated } from '@weft/schema'
import { expect, test } from 'vitest'
import { drive, enrich } from '../src/index.ts'
import { raw, START } from './events.ts'

async function enrichments(payload: Record<string, unknown>, about: Partial<EventValidated> = {}) {
  const { idempotency_key = null, ...event } = raw('page_view', { elapsed_ms: 5, ...payload })
  const validated = { idempotency_key, validated_at: START + 9, validated_by: 'validate', schema_version: '1' }
  const stage = drive(enrich())
  await stage.feed({ ...event, ...validated, received_at: START + 7, ...about })
  const [enriched] = stage.written('events.enriched.v1')
  expect(enriched).toMatchObject({ event_id: event.event_id, enriched_at: START + 9 })
  expect(enriched).not.toHaveProperty('idempotency_key')
  return enriched?.enrichments
}

const PIXEL =
  'Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.43 Mobile Safari/537.36'
const CRAWLER = 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'

test('a device is told by kind, system and browser, and a crawler as one', async () => {
  expect(await enrichments({}, { user_agent: PIXEL })).toMatchObject({
    'device.kind': 'mobile',
    'device.os': 'Android',
    'device.os_version': '14',
    'device.browser': 'Chrome',
  })
  expect(await enrichments({}, { user_agent: CRAWLER })).toMatchObject({ 'device.kind': 'bot' })
  expect(await enrichments({}, { user_agent: 'x'.repeat(50_000) })).not.toHaveProperty('device.browser')
})

test.each([
  [null, undefined, { kind: 'direct' }],
  ['https://www.google.co.uk/search?q=red+shoes', undefined, { kind: 'search', source: 'google', term: 'red shoes' }],
  ['https://l.facebook.com/l.php', undefined, { kind: 'social', source: 'facebook' }],
  ['https://t.co/abc', undefined, { kind: 'social', source: 't' }],
  ['https://mail.proton.me/', undefined, { kind: 'email', source: 'proton' }],
  ['https://blog.example.org/post', undefined, { kind: 'site', host: 'blog.example.org' }],
  ['https://shop.example/a', 'https://www.shop.example/b', { kind: 'internal' }],
  [
    'https://example.org/',
    'https://shop.example/?utm_source=News&utm_medium=email&utm_campaign=May',
    { kind: 'campaign', source: 'news', medium: 'email', campaign: 'may' },
  ],
  [null, 'https://shop.example/?gclid=1', { kind: 'campaign', source: 'google', medium: 'cpc' }],
] as const)('from %s to %s: %o', async (referrer, url, expected) => {
  const found = await enrichments(url ? { url } : {}, { referrer })
  for (const [name, value] of Object.entries(expected)) expect(found).toHaveProperty([`referrer.${name}`], value)
})

test.each(['not a url', 'javascript:alert(1)', 'android-app://com.app', 'http://', '\u0000'])(
  'a referrer like %j tells nothing',
  async referrer => {
    expect(await enrichments({}, { referrer })).not.toHaveProperty(['referrer.kind'])
  },
)

test('money is told in the smallest unit of its currency', async () => {
  expect(await enrichments({ price: 19.99, currency: 'EUR' })).toMatchObject({
    'money.minor': '1999',
    'money.currency': 'EUR',
  })
  expect(await enrichments({ total: 1200, currency: 'JPY' })).toMatchObject({
    'money.minor': '1200',
    'money.currency': 'JPY',
  })
  expect(await enrichments({ price: 1.005 })).toMatchObject({ 'money.minor': '101', 'money.currency': 'USD' })
  expect(await enrichments({ price: 5, currency: 'ZZZ' })).toMatchObject({ 'money.currency': 'XXX' })
  expect(await enrichments({})).not.toHaveProperty(['money.minor'])
})

test('a session is named alike however its tracker wrote it, and after the visitor when it has no name', async () => {
  expect(await enrichments({}, { session_id: ' s1 ' })).toMatchObject({
    session: 'aurora/session/s1',
    'received.delay_ms': '2',
  })
  expect(await enrichments({}, { session_id: null, user_id: 'u1' })).toMatchObject({ session: 'aurora/user/u1' })
  expect(await enrichments({}, { session_id: null })).not.toHaveProperty('session')
})
