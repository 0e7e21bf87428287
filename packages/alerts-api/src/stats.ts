import type { Frame } from './frame.ts'
import { MetricFold, type Where } from './metric-fold.ts'
import { OpenLetters } from './open-letters.ts'

const MINUTE = 60_000
const MINUTES = 60
const SEVERITIES = ['critical', 'warning', 'info'] as const
type Counts = Record<(typeof SEVERITIES)[number], number>

/** In the order in which records pass them; others come behind, by name. */
const STAGES = ['validate', 'enrich', 'features', 'score', 'alert', 'intervene', 'delivery', 'settle']

export interface GroupTotal {
  readonly group: string
  readonly topic: string
  readonly lag: number
}

/** The numbers of the dashboard, for all tenants and for each. */
export class Stats {
  readonly metrics = new MetricFold()
  groups: readonly GroupTotal[] = []
  readonly #deadLetters = new Map<string, OpenLetters>()
  readonly #alerts = new Map<string, Map<number, Counts>>()

  /** Counts an alert in the minute in which the log took it. */
  alert({ tenant, severity, state, appendedAt }: Pick<Frame, 'tenant' | 'severity' | 'state' | 'appendedAt'>): void {
    const minutes = this.#alerts.get(tenant) ?? new Map<number, Counts>()
    this.#alerts.set(tenant, minutes)
    if (state !== 'raised') return
    const minute = Math.floor(appendedAt / MINUTE) * MINUTE
    let counts = minutes.get(minute)
    if (!counts) {
      counts = { critical: 0, warning: 0, info: 0 }
      minutes.set(minute, counts)
      for (const old of minutes.keys()) if (old <= minute - MINUTES * MINUTE) minutes.delete(old)
    }
    if (severity in counts) counts[severity as keyof Counts]++
  }

  /** A letter, or with `isSettled` that somebody has retried or discarded it. */
  deadLetter(tenant: string, id: string, isSettled: boolean): void {
    const letters = this.#deadLetters.get(tenant) ?? new OpenLetters()
    this.#deadLetters.set(tenant, letters)
    if (isSettled) letters.settle(id)
    else letters.add(id)
  }

  /**
   * `tenant` undefined is for all. What cannot be told apart by tenant (stages, groups) is left out unless `whole`: a
   * tenant's token is shown its own numbers only.
   */
  of(tenant: string | undefined, whole: boolean, now = Date.now()): object {
    const own: Where = labels => tenant === undefined || labels.tenant === tenant
    const accepted = this.metrics.rate('weft_ingest_events_total', 'outcome', now, own).get('accepted') ?? 0
    return {
      at: now,
      eventsPerSecond: round(accepted),
      alertsPerMinute: this.#perMinute(tenant, now),
      scores: this.#scores(own),
      deadLetters: this.#openLetters(tenant),
      tenants: whole ? this.#tenants() : [tenant],
      stages: whole ? this.#stages(now) : [],
      groups: whole ? this.groups : [],
    }
  }

  #openLetters(tenant: string | undefined): number {
    if (tenant !== undefined) return this.#deadLetters.get(tenant)?.count ?? 0
    return sum(this.#deadLetters.values().map(({ count }) => count))
  }

  #perMinute(tenant: string | undefined, now: number): object[] {
    const last = Math.floor(now / MINUTE) * MINUTE
    const chosen =
      tenant === undefined ? [...this.#alerts.values()] : [this.#alerts.get(tenant) ?? new Map<number, Counts>()]
    return Array.from({ length: MINUTES }, (_, i) => {
      const minute = last - (MINUTES - 1 - i) * MINUTE
      const counts = SEVERITIES.map(severity => [
        severity,
        sum(chosen.map(minutes => minutes.get(minute)?.[severity] ?? 0)),
      ])
      return { minute, ...Object.fromEntries(counts) }
    })
  }

  /** Buckets of a histogram are cumulative: each holds those below it. */
  #scores(own: Where): number[] {
    const upTo = this.metrics.total('weft_score_bucket', 'le', own)
    const bounds = Array.from({ length: 10 }, (_, i) => upTo.get(String((i + 1) / 10)) ?? 0)
    return bounds.map((count, i) => Math.max(0, count - (bounds[i - 1] ?? 0)))
  }

  #stages(now: number): object[] {
    const flow = (direction: string) =>
      this.metrics.rate('weft_stage_records_total', 'stage', now, labels => labels.direction === direction)
    const [ins, outs, lags] = [flow('in'), flow('out'), this.metrics.gauge('weft_stage_lag', 'stage', now)]
    const stages = [...new Set([...ins.keys(), ...outs.keys(), ...lags.keys()])]
    const place = (stage: string) => (STAGES.includes(stage) ? STAGES.indexOf(stage) : STAGES.length)
    stages.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1))
    return stages.map(stage => ({
      stage,
      in: round(ins.get(stage) ?? 0),
      out: round(outs.get(stage) ?? 0),
      lag: lags.get(stage) ?? 0,
    }))
  }

  #tenants(): string[] {
    const ingesting = this.metrics.total('weft_ingest_events_total', 'tenant').keys()
    return [...new Set([...this.#alerts.keys(), ...this.#deadLetters.keys(), ...ingesting])].filter(Boolean).sort()
  }
}

const sum = (values: Iterable<number>): number => Iterator.from(values).reduce((total, value) => total + value, 0)
const round = (rate: number): number => Math.round(rate * 10) / 10
