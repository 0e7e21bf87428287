import { PAGES, type Page, type Session } from './sessions.ts'

/** An event as the gateway takes it (POST /v1/events). */
export interface ShopEvent {
  readonly event_id: string
  readonly type: 'session_start' | 'page_view' | 'add_to_cart' | 'purchase' | 'session_end'
  readonly user_id: string
  readonly session_id: string
  /** ISO 8601. */
  readonly sent_at: string
  readonly payload: Readonly<Record<string, string | number>> & { readonly elapsed_ms: number }
}

/** The data set does not name its year; weekdays and months of this one are right. */
const YEAR = 2018
const PATHS: Readonly<Record<Exclude<Page, 'product'>, readonly string[]>> = {
  administrative: ['/account', '/cart', '/login', '/orders', '/wishlist'],
  informational: ['/about', '/contact', '/delivery', '/returns', '/stores'],
}
const PRODUCTS = 400

/**
 * The events of one session, the same every time: as many page views of each kind as its row has, the row's exact
 * milliseconds on them, in a made-up order; in a session with a purchase also an add_to_cart (if it saw a product)
 * and the purchase. `startAt`: epoch milliseconds of its start, for `sent_at`. `run` tells repetitions of the
 * session apart: its ids are part of no other run's.
 */
export function eventsOf(session: Session, startAt = 0, run = ''): ShopEvent[] {
  const { row, visitor, specialDay, trafficSource, purchased } = session
  const random = randomOf(row)
  const suffix = run && `-${run}`
  const events: ShopEvent[] = []
  let now = 0
  const emit = (type: ShopEvent['type'], elapsed: number, payload: Record<string, string | number> = {}) =>
    events.push({
      event_id: `demo-${row}-${events.length}${suffix}`,
      type,
      user_id: `shopper-${row}`,
      session_id: `session-${row}${suffix}`,
      sent_at: new Date(startAt + elapsed).toISOString(),
      payload: { elapsed_ms: elapsed, ...payload },
    })

  emit('session_start', 0, {
    local_date: localDate(session, random),
    special_day: specialDay,
    visitor,
    traffic_source: trafficSource,
  })
  now += Math.floor(random() * 1_500)
  const kinds = order(session, random)
  const dwells = Object.fromEntries(
    PAGES.map(page => [page, shares(session.dwellMs[page], session.views[page], random)]),
  ) as Record<Page, number[]>
  const lastProduct = kinds.lastIndexOf('product')
  for (const [index, page] of kinds.entries()) {
    const product = `p-${1 + Math.floor(random() * PRODUCTS)}`
    const dwell = dwells[page].pop() as number
    // Both lie within the time on the page, which stays the page being looked at.
    const [carted, paid] = [random(), random()].sort((a, b) => a - b).map(share => now + Math.floor(share * dwell)) as [
      number,
      number,
    ]
    if (page === 'product') emit('page_view', now, { page, url: `/products/${product}`, product_id: product })
    else emit('page_view', now, { page, url: PATHS[page][Math.floor(random() * PATHS[page].length)] as string })
    if (purchased && index === lastProduct) emit('add_to_cart', carted, { product_id: product, quantity: 1 })
    if (purchased && index === kinds.length - 1) emit('purchase', paid, { order_id: `order-${row}${suffix}` })
    now += dwell
  }
  emit('session_end', now)
  return events
}

/** The kinds of page in the order they are seen: people mostly stay with a kind for some pages. */
function order({ views }: Session, random: () => number): Page[] {
  const left = { ...views }
  const kinds: Page[] = []
  let total = PAGES.reduce((sum, page) => sum + left[page], 0)
  let current: Page | undefined
  for (; total > 0; total--) {
    if (!current || left[current] === 0 || random() < 0.4) {
      const at = random() * total
      const { administrative, informational } = left
      current =
        at < administrative ? 'administrative' : at < administrative + informational ? 'informational' : 'product'
    }
    left[current]--
    kinds.push(current)
  }
  return kinds
}

/** `total` as a sum of `count` whole numbers of uneven size. */
function shares(total: number, count: number, random: () => number): number[] {
  const weights = Array.from({ length: count }, () => -Math.log(1 - random()))
  const sum = weights.reduce((a, b) => a + b, 0)
  let weight = 0
  let given = 0
  return weights.map((each, index) => {
    weight += each
    const upTo = index === count - 1 ? total : Math.floor(total * Math.min(1, weight / sum))
    const share = upTo - given
    given = upTo
    return share
  })
}

function localDate({ month, weekend }: Session, random: () => number): string {
  const days = Array.from({ length: new Date(Date.UTC(YEAR, month, 0)).getUTCDate() }, (_, index) => index + 1).filter(
    day => [0, 6].includes(new Date(Date.UTC(YEAR, month - 1, day)).getUTCDay()) === weekend,
  )
  const day = days[Math.floor(random() * days.length)] as number
  return new Date(Date.UTC(YEAR, month - 1, day)).toISOString().slice(0, 10)
}

/** Numbers from 0 up to 1 that follow from the seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
