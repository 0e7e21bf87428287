import type { EventRaw } from '@weft/schema'

export const START = Date.UTC(2026, 2, 14, 12)

let made = 0

/** A raw event as the gateway writes it: received when it was sent, unless told otherwise. */
export function raw(type: string, payload: Record<string, unknown>, about: Partial<EventRaw> = {}): EventRaw {
  const sent_at = about.sent_at ?? START + Number(payload.elapsed_ms ?? 0)
  return {
    event_id: `e${made++}`,
    store_id: 'aurora',
    user_id: null,
    session_id: 's1',
    type,
    payload: JSON.stringify(payload),
    sent_at,
    received_at: sent_at,
    idempotency_key: null,
    user_agent: null,
    referrer: null,
    ...about,
  }
}

export const begins = (about: Partial<EventRaw> = {}, payload: Record<string, unknown> = {}): EventRaw =>
  raw('session_start', { elapsed_ms: 0, visitor: 'new', ...payload }, about)

export const views = (page: string, elapsed_ms: number, about: Partial<EventRaw> = {}): EventRaw =>
  raw('page_view', { elapsed_ms, page }, about)

export const ends = (elapsed_ms: number, about: Partial<EventRaw> = {}): EventRaw =>
  raw('session_end', { elapsed_ms }, about)
