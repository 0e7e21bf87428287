import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { checkEvent } from '@weft/schema'
import { describe, expect, it } from 'vitest'
import { eventsOf, type Page, type ShopEvent, sessions } from '../index.ts'

const data = gunzipSync(readFileSync(new URL('../data/online-shoppers.csv.gz', import.meta.url)))
const rows = data
  .toString()
  .trimEnd()
  .split('\n')
  .map(line => line.split(','))
const all = sessions()
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'June', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** Counts and durations as they follow from events alone: a page is looked at until the next one or the end. */
function totalsOf(events: readonly ShopEvent[]) {
  const totals = { administrative: [0, 0], informational: [0, 0], product: [0, 0] } as Record<Page, [number, number]>
  let current: { page: Page; since: number } | undefined
  for (const { type, payload } of events) {
    if (type !== 'page_view' && type !== 'session_end') continue
    if (current) totals[current.page][1] += payload.elapsed_ms - current.since
    current = type === 'page_view' ? { page: payload.page as Page, since: payload.elapsed_ms } : undefined
    if (current) totals[current.page][0]++
  }
  return [...totals.administrative, ...totals.informational, ...totals.product]
}

describe('the data set', () => {
  it('is the one its credit names', () => {
    expect(createHash('sha256').update(data).digest('hex')).toBe(
      'f478bab98d0a47125518aab1a3c3cf1e3527b31bb06aa27bd0cc0b93e0a11185',
    )
    expect(all).toHaveLength(12_330)
    expect(all.filter(session => session.purchased)).toHaveLength(1_908)
  })
})

describe('the events of each of the 12,330 sessions', { timeout: 120_000 }, () => {
  it('add up to the counts and milliseconds of its row', () => {
    for (const session of all) {
      const row = rows[session.row] as string[]
      const expected = row.slice(0, 6).map((value, index) => Math.round(Number(value) * (index % 2 ? 1_000 : 1)))
      expect(totalsOf(eventsOf(session)), `row ${session.row}`).toEqual(expected)
    }
  })

  it('begin with all the row says of the session, on a day of its month that is a weekend if the row says so', () => {
    for (const session of all) {
      const row = rows[session.row] as string[]
      const payload = eventsOf(session)[0]?.payload as Record<string, string | number>
      const date = new Date(`${payload.local_date}T00:00:00Z`)
      expect(months[date.getUTCMonth()], `row ${session.row}`).toBe(row[10])
      expect([0, 6].includes(date.getUTCDay()), `row ${session.row}`).toBe(row[16] === 'TRUE')
      expect(payload.special_day).toBe(Number(row[9]))
      expect(payload.traffic_source).toBe(Number(row[14]))
      expect(payload.visitor).toBe(row[15]?.toLowerCase().replace('_visitor', ''))
    }
  })

  it('rise in time from a start to an end, with a purchase just where the row has one', () => {
    for (const session of all) {
      const events = eventsOf(session)
      const types = events.map(event => event.type)
      const elapsed = events.map(event => event.payload.elapsed_ms)
      expect(elapsed, `row ${session.row}`).toEqual([...elapsed].sort((a, b) => a - b))
      expect(elapsed.every(Number.isSafeInteger)).toBe(true)
      expect([types.indexOf('session_start'), types.lastIndexOf('session_start')]).toEqual([0, 0])
      expect([types.indexOf('session_end'), types.lastIndexOf('session_end')]).toEqual(Array(2).fill(types.length - 1))
      expect(types.filter(type => type === 'purchase')).toHaveLength(rows[session.row]?.[17] === 'TRUE' ? 1 : 0)
      if (types.includes('add_to_cart')) expect(types.indexOf('purchase')).toBeGreaterThan(types.indexOf('add_to_cart'))
    }
  })

  it('are events that the fabric takes', () => {
    for (const session of all)
      for (const { type, payload } of eventsOf(session)) expect(checkEvent(type, payload)).toEqual([])
  })

  it('are the same every time, with ids of their own', () => {
    const ids = new Set<string>()
    let count = 0
    for (const session of all)
      for (const event of eventsOf(session)) {
        ids.add(event.event_id)
        count++
      }
    expect(ids.size).toBe(count)
    const digest = () => {
      const hash = createHash('sha256')
      for (const session of sessions())
        if (session.row % 10 === 0) hash.update(JSON.stringify(eventsOf(session, 1_700_000_000_000)))
      return hash.digest('hex')
    }
    expect(digest()).toBe(digest())
  })

  it('tell runs and their sessions apart, and keep the shopper', () => {
    const [first, again] = [eventsOf(all[7] as never), eventsOf(all[7] as never, 0, 'second')]
    expect(again.map(event => event.payload.elapsed_ms)).toEqual(first.map(event => event.payload.elapsed_ms))
    expect(first[0]?.event_id).toBe('demo-7-0')
    expect(again[0]?.event_id).toBe('demo-7-0-second')
    expect(again[0]?.session_id).not.toBe(first[0]?.session_id)
    expect(again[0]?.user_id).toBe(first[0]?.user_id)
  })

  it('carry the time they were sent at', () => {
    const events = eventsOf(all[4] as never, Date.UTC(2026, 0, 1))
    for (const { sent_at, payload } of events)
      expect(Date.parse(sent_at) - payload.elapsed_ms).toBe(Date.UTC(2026, 0, 1))
  })
})
