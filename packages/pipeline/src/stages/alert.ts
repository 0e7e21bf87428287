import type { Alert, AlertAnalytics, Score } from '@weft/schema'
import { HEADERS, header, headerOf } from '@weft/transport'
import { idOf, joined } from '../identity.ts'
import { parseRules, type Rule } from '../rules.ts'
import { type Context, type Stage, type StageRecord, stage } from '../stage.ts'
import { RULES_HEADER } from '../ticks.ts'
import { elapse, type Finding, nextChange, observe, type Watch } from '../watch.ts'
import { tumbling, Windowed } from '../windows.ts'

type Out = 'alerts.v1' | 'alerts.analytics.v1' | 'events.late.v1'
type Tally = Pick<
  AlertAnalytics,
  'store_id' | 'user_id' | 'alerts' | 'by_rule' | 'by_severity' | 'events' | 'scores' | 'score_sum' | 'score_max'
>

const WINDOWS = { '1m': 60_000, '5m': 300_000, '1h': 3_600_000 }
const DAY = 86_400_000
/** Of the schedule's entries those that wake a session's watch. */
const WAKE = 'wake|'

export interface AlertOptions {
  /** What applies until a tick brings other rules; they are kept from then on. */
  readonly rules?: readonly Rule[]
  /** How long windows and rules wait for records that are under way. */
  readonly graceMs?: number
  /** A session that the stage's clock has seen nothing of for so long is forgotten. */
  readonly idleMs?: number
}

/**
 * signals.scores.v1 → alerts.v1 by the rules, alerts.analytics.v1 for each entity with something in a window of 1 m, 5 m
 * or 1 h, and events.late.v1 for what came after a window had closed. Event time is when the sender says it was, but
 * never after the gateway took it: nobody's clock but our own can be ahead.
 */
export function alert({ rules: initial = [], graceMs = 10_000, idleMs = DAY }: AlertOptions = {}): Stage {
  const start = (): Tally => ({
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
  const windows = Object.entries(WINDOWS).map(
    ([name, ms]) => new Windowed({ name, assign: tumbling(ms), graceMs, create: start }),
  )
  const parsed = new Map<string, readonly Rule[]>()

  function rulesOf(context: Context<Out>): readonly Rule[] {
    const written = context.state<string>('rules').get('')
    if (written === undefined) return initial
    const known = parsed.get(written) ?? parseRules(JSON.parse(written))
    parsed.set(written, known)
    return known
  }

  /** Emits and counts what was found; the alerts of one event come in the order of the rules. */
  function tell(found: Finding, watch: Watch, context: Context<Out>, from?: StageRecord<Score>): void {
    const { rule, state, time, event } = found
    const { store_id, user_id, session_id, entity } = watch
    const value: Alert = {
      alert_id: idOf('alert', entity, session_id ?? '', rule.name, state, event ?? '', time),
      store_id,
      user_id,
      session_id,
      entity,
      rule: rule.name,
      severity: rule.severity,
      state,
      score: found.score ?? null,
      threshold: found.threshold ?? null,
      message: found.message,
      source_event_id: event,
      window_start: found.window?.start ?? null,
      window_end: found.window?.end ?? null,
      event_time: time,
      raised_at: context.now,
      received_at: from?.value.received_at ?? null,
    }
    const trace = watch.trace === undefined ? [] : [header(HEADERS.trace, watch.trace)]
    const alone = { key: entity, headers: [header(HEADERS.tenant, store_id), ...trace] }
    context.emit('alerts.v1', value, { ...(from ?? alone), time })
    if (state === 'cleared') return
    for (const window of windows) {
      window.add(context, entity, time, tally => {
        Object.assign(tally, { store_id, user_id, alerts: tally.alerts + 1 })
        tally.by_rule[rule.name] = (tally.by_rule[rule.name] ?? 0) + 1
        tally.by_severity[rule.severity] = (tally.by_severity[rule.severity] ?? 0) + 1
      })
    }
  }

  /** An entry no later than the watch's next change; one that comes too early looks again. */
  function keep(id: string, watch: Watch, context: Context<Out>): void {
    const next = Math.min(nextChange(watch, rulesOf(context)) + graceMs, watch.seen + idleMs)
    if (next < watch.wake) {
      context.schedule<true>().set(next, WAKE + id, true)
      watch.wake = next
    }
    context.state<Watch>('watches').set(id, watch)
  }

  return stage<'signals.scores.v1', Out>({
    name: 'alert',
    reads: ['signals.scores.v1'],
    writes: ['alerts.v1', 'alerts.analytics.v1', 'events.late.v1'],
    clock: score => score.received_at,

    process(record, context) {
      const { value, key } = record
      const { store_id, user_id, session_id, source_event_id, event_type, score } = value
      const time = Math.min(value.sent_at, value.received_at)
      const id = joined(key, session_id)
      const watch = context.state<Watch>('watches').get(id) ?? newWatch(record)
      watch.seen = context.now
      watch.trace = headerOf(record, HEADERS.trace)
      for (const window of windows) {
        const late = window.add(context, key, time, tally => {
          const { events, scores, score_sum, score_max } = tally
          Object.assign(tally, { store_id, user_id, events: events + 1, scores: scores + 1 })
          Object.assign(tally, { score_sum: score_sum + score, score_max: Math.max(score_max, score) })
        })
        for (const span of late) {
          context.emit('events.late.v1', lateEvent(record, window.name, span, time, context.now, graceMs), record)
          context.count('late')
        }
      }
      const event = { id: source_event_id, type: event_type, time, score }
      for (const found of observe(watch, event, rulesOf(context))) tell(found, watch, context, record)
      keep(id, watch, context)
    },

    due(due, context) {
      if (due.id.startsWith(WAKE)) {
        const id = due.id.slice(WAKE.length)
        const watches = context.state<Watch>('watches')
        const watch = watches.get(id)
        if (!watch) return
        for (const found of elapse(watch, due.at - graceMs, rulesOf(context))) tell(found, watch, context)
        if (watch.seen + idleMs <= due.at) return watches.set(id, undefined)
        if (watch.wake <= due.at) watch.wake = Number.POSITIVE_INFINITY
        return keep(id, watch, context)
      }
      for (const window of windows) {
        const closed = window.closed(due)
        if (!closed) continue
        const { start, end, key: entity, aggregate } = closed
        const analytics_id = idOf('analytics', entity, window.name, start)
        const span = { window: window.name, window_start: start, window_end: end }
        const value = { analytics_id, ...aggregate, session_id: null, entity, ...span }
        const headers = [header(HEADERS.tenant, aggregate.store_id)]
        context.emit('alerts.analytics.v1', value, { key: entity, time: start, headers })
      }
    },

    tick({ headers }, context) {
      const written = headerOf({ headers }, RULES_HEADER)
      if (written === undefined) return
      try {
        parsed.set(written, parseRules(JSON.parse(written)))
      } catch {
        return context.count('refused_rules')
      }
      context.state<string>('rules').set('', written)
    },
  })
}

function newWatch({ key, value }: StageRecord<Score>): Watch {
  const { store_id, user_id, session_id } = value
  const nothing = { types: [], raised: {}, times: {}, awaited: {}, met: {} }
  return {
    store_id,
    user_id,
    session_id,
    entity: key,
    trace: undefined,
    ...nothing,
    seen: 0,
    wake: Number.POSITIVE_INFINITY,
  }
}

function lateEvent(
  record: StageRecord<Score>,
  window: string,
  span: { start: number; end: number },
  time: number,
  clock: number,
  graceMs: number,
) {
  const { store_id, user_id, session_id, source_event_id, score_id } = record.value
  return {
    late_id: idOf('late', 'alert', score_id, window),
    store_id,
    user_id,
    session_id,
    stage: 'alert',
    source_topic: record.topic,
    source_event_id,
    window,
    window_start: span.start,
    window_end: span.end,
    event_time: time,
    clock,
    late_by_ms: clock - span.end - graceMs,
    payload: JSON.stringify(record.value),
  }
}
