import type { AlertAnalytics } from '@weft/schema'
import { idOf } from './identity.ts'
import type { Context, Due } from './stage.ts'
import { type Span, tumbling, Windowed } from './windows.ts'

/** What is counted of an entity in a window. */
export type Tally = Omit<
  AlertAnalytics,
  'analytics_id' | 'session_id' | 'entity' | 'window' | 'window_start' | 'window_end'
>

const LENGTHS = { '1m': 60_000, '5m': 300_000, '1h': 3_600_000 }

const create = (): Tally => ({
  store_id: '',
  user_id: null,
  alerts: 0,
  by_rule: {},
  by_severity: {},
  events: 0,
  scores: 0,
  score_sum: 0,
  score_max: 0,
})

function merge(into: Tally, from: Tally): void {
  into.store_id = from.store_id
  into.user_id = from.user_id
  into.alerts += from.alerts
  for (const by of ['by_rule', 'by_severity'] as const) {
    for (const [name, n] of Object.entries(from[by])) into[by][name] = (into[by][name] ?? 0) + n
  }
  into.events += from.events
  into.scores += from.scores
  into.score_sum += from.score_sum
  into.score_max = Math.max(into.score_max, from.score_max)
}

/** Windows of 1 m, 5 m and 1 h for each entity: a record is counted in the shortest, which closes into the next. */
export class Analytics {
  readonly #windows: readonly { readonly label: string; readonly tallies: Windowed<Tally> }[]

  constructor(graceMs: number) {
    // Numbered, so that of those that close at once the shorter comes first.
    this.#windows = Object.entries(LENGTHS).map(([label, ms], n) => ({
      label,
      tallies: new Windowed({ name: String(n), assign: tumbling(ms), graceMs, create }),
    }))
  }

  /** Counts in the shortest window that is still open, and so in those around it; returns those that had closed. */
  count(context: Context, entity: string, time: number, change: (tally: Tally) => void): (Span & { window: string })[] {
    const late: (Span & { window: string })[] = []
    for (const { label, tallies } of this.#windows) {
      const [missed] = tallies.add(context, entity, time, change)
      if (!missed) break
      late.push({ ...missed, window: label })
    }
    return late
  }

  /** What a window that fell due has counted; undefined if the entry is not one of these. */
  closed(context: Context, due: Due): AlertAnalytics | undefined {
    for (const [n, { label, tallies }] of this.#windows.entries()) {
      const closed = tallies.closed(due)
      if (!closed) continue
      this.#windows[n + 1]?.tallies.fold(context, closed, merge)
      const { start, end, key: entity, aggregate } = closed
      const analytics_id = idOf('analytics', entity, label, start)
      return {
        analytics_id,
        ...aggregate,
        session_id: null,
        entity,
        window: label,
        window_start: start,
        window_end: end,
      }
    }
    return undefined
  }
}
