import type { Alert, Score } from '@weft/schema'
import { HEADERS, header, headerOf } from '@weft/transport'
import { Analytics } from '../analytics.ts'
import { idOf, joined } from '../identity.ts'
import { parseRules, type Rule } from '../rules.ts'
import { type Context, type Stage, type StageRecord, stage } from '../stage.ts'
import { RULES_HEADER } from '../ticks.ts'
import { elapse, type Finding, nextChange, observe, type Watch } from '../watch.ts'
import type { Span } from '../windows.ts'

type Out = 'alerts.v1' | 'alerts.analytics.v1' | 'events.late.v1'
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
  const analytics = new Analytics(graceMs)
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
    const { rule, state, time, event, raisedBy = '' } = found
    const { store_id, user_id, session_id, entity } = watch
    const value: Alert = {
      alert_id: idOf('alert', entity, session_id ?? '', rule.name, state, event ?? raisedBy, time),
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
    analytics.count(context, entity, time, tally => {
      tally.store_id = store_id
      tally.user_id = user_id
      tally.alerts++
      tally.by_rule[rule.name] = (tally.by_rule[rule.name] ?? 0) + 1
      tally.by_severity[rule.severity] = (tally.by_severity[rule.severity] ?? 0) + 1
    })
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
      const late = analytics.count(context, key, time, tally => {
        tally.store_id = store_id
        tally.user_id = user_id
        tally.events++
        tally.scores++
        tally.score_sum += score
        tally.score_max = Math.max(tally.score_max, score)
      })
      for (const missed of late) {
        context.emit('events.late.v1', lateEvent(record, missed, time, context.now, graceMs), record)
        context.count('late')
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
      const value = analytics.closed(context, due)
      if (!value) return
      const headers = [header(HEADERS.tenant, value.store_id)]
      context.emit('alerts.analytics.v1', value, { key: value.entity, time: value.window_start, headers })
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
  { window, start, end }: Span & { readonly window: string },
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
    window_start: start,
    window_end: end,
    event_time: time,
    clock,
    late_by_ms: clock - end - graceMs,
    payload: JSON.stringify(record.value),
  }
}
