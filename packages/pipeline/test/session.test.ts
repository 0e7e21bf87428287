import { eventsOf, sessions } from '@weft/local'
import { describe, expect, it } from 'vitest'
import { addToSession, newSession, type SessionEvent } from '../src/session.ts'

const event = (type: string, elapsed_ms: number, page?: string): SessionEvent => ({
  type,
  sent_at: 0,
  payload: { elapsed_ms, ...(page && { page }), ...(type === 'session_start' && { visitor: 'new' }) },
})

function after(events: readonly SessionEvent[]) {
  const session = newSession(events[0] as SessionEvent)
  for (const each of events) addToSession(session, each)
  return session
}
const timesAfter = (...events: SessionEvent[]) => after(events).ms.slice(0, 3)

describe('time on pages', () => {
  it('runs from a page view to the next one', () => {
    expect(timesAfter(event('page_view', 10, 'product'), event('page_view', 35, 'administrative'))).toEqual([0, 0, 25])
  })

  it('is nobody’s before the first page and after the end', () => {
    const before = [event('session_start', 0), event('page_view', 400, 'informational'), event('session_end', 500)]
    expect(timesAfter(...before)).toEqual([0, 100, 0])
    expect(timesAfter(...before, event('purchase', 900))).toEqual([0, 100, 0])
  })

  it('stays with the page over what is done on it, and is known up to that', () => {
    const events = [event('page_view', 0, 'product'), event('add_to_cart', 40)]
    expect(timesAfter(...events)).toEqual([0, 0, 40])
    expect(timesAfter(...events, event('purchase', 70))).toEqual([0, 0, 70])
    expect(timesAfter(...events, event('purchase', 70), event('session_end', 100))).toEqual([0, 0, 100])
  })

  it('goes to the page that arrives late, also for what was done on it', () => {
    expect(
      timesAfter(
        event('page_view', 0, 'product'),
        event('add_to_cart', 40),
        event('session_end', 60),
        event('page_view', 30, 'informational'),
      ),
    ).toEqual([0, 30, 30])
  })

  it('is right for real sessions of up to 30 events in whatever order they arrive', () => {
    const short = sessions()
      .filter(session => eventsOf(session).length <= 30)
      .filter((_, index) => index % 10 === 0)
    expect(short.length).toBeGreaterThan(700)
    for (const session of short) {
      const events = eventsOf(session).map(({ type, payload }) => ({ type, sent_at: 0, payload }))
      // Events of equal time stay in their order: nothing else could tell it.
      const late = [...events].sort(
        (a, b) =>
          Number(a.payload.elapsed_ms % 3) - (b.payload.elapsed_ms % 3) || b.payload.elapsed_ms - a.payload.elapsed_ms,
      )
      const { administrative, informational, product } = session.dwellMs
      expect(after(late).ms.slice(0, 3), `row ${session.row}`).toEqual([administrative, informational, product])
    }
  })

  it('survives a session of thousands of events, the last ones in disorder', () => {
    const views = Array.from({ length: 5_000 }, (_, index) =>
      event('page_view', index * 10, index % 2 ? 'product' : 'informational'),
    )
    const swapped = views.flatMap((_, index) => (index % 2 ? [views[index], views[index - 1]] : [])) as SessionEvent[]
    expect(timesAfter(...swapped, event('session_end', 50_000))).toEqual([0, 25_000, 25_000])
  })
})
