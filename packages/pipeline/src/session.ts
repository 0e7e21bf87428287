/** Pages of these kinds are counted, in this order; an event that shows no page has kind NO_PAGE. */
export const PAGE_KINDS = ['administrative', 'informational', 'product'] as const
const NO_PAGE = PAGE_KINDS.length
/** Of an event on the page that is being looked at, such as add_to_cart. */
const SAME_PAGE = -1

/** How many of a session's last events may still be put in order. */
const REORDERED = 32

/** What is kept of a session while it lasts. */
export interface Session {
  month: number
  weekend: number
  special_day: number
  returning: number
  traffic_source: number
  events: number
  carts: number
  purchases: number
  /** Pages seen, and milliseconds on them, by kind; the last entry is for events that show no page. */
  pages: number[]
  ms: number[]
  /** The last events in the order of their times: elapsed_ms and kind, one after the other. */
  tail: number[]
  /** When the stage's clock last saw an event of it, and when it looks whether the session is over. */
  seen: number
  wake: number
}

export interface SessionEvent {
  readonly type: string
  readonly sent_at: number
  readonly payload: Readonly<Record<string, unknown>>
}

export function newSession({ sent_at }: SessionEvent): Session {
  const date = new Date(sent_at)
  return {
    ...calendar(date),
    special_day: 0,
    returning: 0,
    traffic_source: 0,
    events: 0,
    carts: 0,
    purchases: 0,
    pages: [0, 0, 0, 0],
    ms: [0, 0, 0, 0],
    tail: [],
    seen: 0,
    wake: 0,
  }
}

/**
 * Adds an event. Durations come from elapsed_ms alone: a page lasts until the next page_view or session_end, so far as
 * events tell, whenever they arrive, as long as they are among the last REORDERED. Events of equal time keep the order
 * in which they came.
 */
export function addToSession(session: Session, { type, payload }: SessionEvent): void {
  session.events++
  if (type === 'add_to_cart') session.carts++
  if (type === 'purchase') session.purchases++
  if (type === 'session_start') start(session, payload)
  const kind = kindOf(type, payload.page)
  if (kind !== SAME_PAGE) session.pages[kind] = (session.pages[kind] ?? 0) + 1
  insert(session, Number(payload.elapsed_ms), kind)
}

/** A page stays the one looked at over what is done on it, until the next page or the end. */
function kindOf(type: string, page: unknown): number {
  if (type !== 'page_view') return type === 'session_start' || type === 'session_end' ? NO_PAGE : SAME_PAGE
  const kind = PAGE_KINDS.indexOf(page as (typeof PAGE_KINDS)[number])
  return kind < 0 ? NO_PAGE : kind
}

function insert({ tail, ms }: Session, elapsed: number, kind: number): void {
  attribute(tail, ms, -1)
  let at = tail.length
  while (at > 0 && (tail[at - 2] as number) > elapsed) at -= 2
  tail.splice(at, 0, elapsed, kind)
  attribute(tail, ms, 1)
  if (tail.length <= 2 * REORDERED) return
  if (tail[3] === SAME_PAGE) tail[3] = tail[1] as number
  tail.splice(0, 2)
}

/** Adds the time between the events of the tail to their pages, or takes it away again. */
function attribute(tail: readonly number[], ms: number[], sign: 1 | -1): void {
  let page: number = NO_PAGE
  for (let at = 0; at + 2 < tail.length; at += 2) {
    if (tail[at + 1] !== SAME_PAGE) page = tail[at + 1] as number
    const lasted = (tail[at + 2] as number) - (tail[at] as number)
    ms[page] = (ms[page] ?? 0) + sign * lasted
  }
}

function start(session: Session, payload: SessionEvent['payload']): void {
  const { local_date, special_day, visitor, traffic_source } = payload
  if (typeof local_date === 'string') Object.assign(session, calendar(new Date(`${local_date}T00:00:00Z`)))
  if (typeof special_day === 'number') session.special_day = special_day
  if (typeof traffic_source === 'number') session.traffic_source = traffic_source
  session.returning = visitor === 'returning' ? 1 : 0
}

const calendar = (date: Date): { month: number; weekend: number } => ({
  month: date.getUTCMonth() + 1,
  weekend: date.getUTCDay() % 6 === 0 ? 1 : 0,
})
