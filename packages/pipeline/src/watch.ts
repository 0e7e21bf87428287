import type { CountRule, Rule, SilenceRule, ThresholdRule } from './rules.ts'

/** What the rules remember of one session. Entries are by rule name, and absent while there is nothing to remember. */
export interface Watch {
  readonly store_id: string
  readonly user_id: string | null
  readonly session_id: string | null
  readonly entity: string
  trace: string | undefined
  /** Event types seen, for `unless`. */
  types: string[]
  /** By which event. */
  raised: Record<string, string>
  /** Event times that still count, in order. */
  times: Record<string, number[]>
  /** Since when an event is expected, and after which one. */
  awaited: Record<string, { since: number; after: string }>
  /** Event time of the last expected event. */
  met: Record<string, number>
  /** When the stage's clock last saw an event of it, and when it looks again. */
  seen: number
  wake: number
}

export interface Observed {
  readonly id: string
  readonly type: string
  readonly time: number
  readonly score: number
}

/** A rule's condition began or ended. */
export interface Finding {
  readonly rule: Rule
  readonly state: 'raised' | 'cleared'
  readonly time: number
  readonly message: string
  readonly event: string | null
  /** Of what time alone ends: the event that had raised it. */
  readonly raisedBy?: string
  readonly score?: number
  readonly threshold?: number
  readonly window?: { readonly start: number; readonly end: number }
}

/** What an event changes, rule by rule in their order. */
export function observe(watch: Watch, event: Observed, rules: readonly Rule[]): Finding[] {
  if (!watch.types.includes(event.type)) watch.types.push(event.type)
  return rules.flatMap(rule => {
    if (rule.tenants && !rule.tenants.includes(watch.store_id)) return []
    if (rule.kind === 'threshold') return onScore(watch, event, rule)
    if (rule.kind === 'count') return onCount(watch, event, rule)
    expectOther(watch, event, rule)
    return []
  })
}

function onScore(watch: Watch, { id, type, time, score }: Observed, rule: ThresholdRule): Finding[] {
  const found = { rule, time, event: id, score }
  if (watch.raised[rule.name]) {
    if (score >= rule.clear) return []
    delete watch.raised[rule.name]
    const message = `score ${shown(score)} fell below ${rule.clear}`
    return [{ ...found, state: 'cleared', threshold: rule.clear, message }]
  }
  if (score < rule.raise || (rule.on && !rule.on.includes(type))) return []
  if (rule.unless?.some(other => watch.types.includes(other))) return []
  watch.raised[rule.name] = id
  return [
    {
      ...found,
      state: 'raised',
      threshold: rule.raise,
      message: `score ${shown(score)} reached ${rule.raise} at ${type}`,
    },
  ]
}

/** The last `count` times decide: while the first of them is within reach of the newest, the condition holds. */
function onCount(watch: Watch, { id, type, time, score }: Observed, rule: CountRule): Finding[] {
  if (!rule.events.includes(type)) return []
  const times = [...(watch.times[rule.name] ?? []), time].sort((a, b) => a - b).slice(-rule.count)
  watch.times[rule.name] = times
  const [first, last] = [times[0] as number, times.at(-1) as number]
  if (watch.raised[rule.name] || times.length < rule.count || last - first >= rule.withinMs) return []
  watch.raised[rule.name] = id
  const message = `${rule.count} of ${rule.events.join(', ')} within ${rule.withinMs / 1000} s`
  const window = { start: first, end: last + 1 }
  return [{ rule, state: 'raised', time, event: id, score, threshold: rule.count, message, window }]
}

/** An event may end one silence and begin the next. What counts is when they happened, not in which order they came. */
function expectOther(watch: Watch, { id, type, time }: Observed, rule: SilenceRule): void {
  const met = watch.met[rule.name] ?? Number.NEGATIVE_INFINITY
  const awaited = watch.awaited[rule.name]
  const isExpected = rule.expect.includes(type)
  if (isExpected) {
    watch.met[rule.name] = Math.max(time, met)
    if (awaited && time >= awaited.since) delete watch.awaited[rule.name]
  }
  if (!rule.after.includes(type) || time < (awaited?.since ?? time)) return
  if (isExpected ? time >= met : time > met) watch.awaited[rule.name] = { since: time, after: id }
}

/** What time alone changes: an expected event is overdue, a count has gone down. `time` is event time. */
export function elapse(watch: Watch, time: number, rules: readonly Rule[]): Finding[] {
  return rules.flatMap((rule): Finding[] => {
    if (rule.kind === 'silence') {
      const awaited = watch.awaited[rule.name]
      const at = (awaited?.since ?? Number.POSITIVE_INFINITY) + rule.withinMs
      if (!awaited || at > time) return []
      delete watch.awaited[rule.name]
      const message = `no ${rule.expect.join(', ')} within ${rule.withinMs / 1000} s of ${rule.after.join(', ')}`
      const window = { start: awaited.since, end: at }
      return [{ rule, state: 'raised', time: at, event: awaited.after, message, window }]
    }
    const ends = rule.kind === 'count' && endOf(watch, rule)
    if (!ends || ends > time) return []
    const raisedBy = watch.raised[rule.name] as string
    delete watch.raised[rule.name]
    const message = `fewer than ${rule.count} of ${rule.events.join(', ')} within ${rule.withinMs / 1000} s`
    return [{ rule, state: 'cleared', time: ends, event: null, raisedBy, threshold: rule.count, message }]
  })
}

function endOf(watch: Watch, rule: CountRule): number | undefined {
  const first = watch.times[rule.name]?.[0]
  return watch.raised[rule.name] && first !== undefined ? first + rule.withinMs : undefined
}

/** The event time at which `elapse` will next find something; Infinity if never. */
export function nextChange(watch: Watch, rules: readonly Rule[]): number {
  let next = Number.POSITIVE_INFINITY
  for (const rule of rules) {
    if (rule.kind === 'silence') next = Math.min(next, (watch.awaited[rule.name]?.since ?? next) + rule.withinMs)
    if (rule.kind === 'count') next = Math.min(next, endOf(watch, rule) ?? next)
  }
  return next
}

const shown = (score: number): string => score.toFixed(3)
