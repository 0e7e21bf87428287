import type { Events } from '@weft/schema'

export type Sample = Events['tracking.metrics.v1']

interface Series {
  readonly service: string
  readonly labels: Readonly<Record<string, string>>
  value: number
  at: number
  /** Of a counter: what it has counted over all restarts, as far as known. */
  total: number
  /** Totals of the last seconds, oldest first. */
  readonly history: { at: number; total: number }[]
}

/** Services publish what changed each second and everything each half minute: one silent for longer has gone. */
const GONE_MS = 90_000
const RATE_MS = 10_000

/** Folds the metrics that services publish into what they mean now. A counter that fell has been restarted at 0. */
export class MetricFold {
  readonly #metrics = new Map<string, Map<string, Series>>()
  readonly #seenAt = new Map<string, number>()

  take(sample: Sample): void {
    const { service_id, metric_name, labels, metric_value: value, timestamp: at } = sample
    this.#seenAt.set(service_id, Math.max(at, this.#seenAt.get(service_id) ?? 0))
    const series = this.#metrics.get(metric_name) ?? new Map<string, Series>()
    this.#metrics.set(metric_name, series)
    const key = JSON.stringify([service_id, Object.entries(labels).sort()])
    const known = series.get(key)
    if (!known) {
      series.set(key, { service: service_id, labels, value, at, total: value, history: [{ at, total: value }] })
      return
    }
    known.total += value < known.value ? value : value - known.value
    known.value = value
    known.at = at
    known.history.push({ at, total: known.total })
    while (known.history.length > 2 && (known.history[1]?.at ?? at) <= at - RATE_MS) known.history.shift()
  }

  /** Sums of a gauge over the services that are there, by a label. */
  gauge(name: string, label: string, now: number): Map<string, number> {
    return this.#sum(
      name,
      label,
      () => true,
      series => (now - (this.#seenAt.get(series.service) ?? 0) < GONE_MS ? series.value : 0),
    )
  }

  /** Sums of a counter, by a label. */
  total(name: string, label: string, where: Where = () => true): Map<string, number> {
    return this.#sum(name, label, where, series => series.total)
  }

  /** Per second over the last ten seconds, by a label. */
  rate(name: string, label: string, now: number, where: Where = () => true): Map<string, number> {
    return this.#sum(name, label, where, ({ history, total }) => {
      const since = now - RATE_MS
      const before = history.findLast(each => each.at <= since) ?? history[0]
      return before ? (total - before.total) / (RATE_MS / 1000) : 0
    })
  }

  #sum(name: string, label: string, where: Where, of: (series: Series) => number): Map<string, number> {
    const sums = new Map<string, number>()
    for (const series of this.#metrics.get(name)?.values() ?? []) {
      if (!where(series.labels)) continue
      const group = series.labels[label] ?? ''
      sums.set(group, (sums.get(group) ?? 0) + of(series))
    }
    return sums
  }
}

export type Where = (labels: Readonly<Record<string, string>>) => boolean
