import { hostname } from 'node:os'
import type { Catalogue } from '@weft/schema'
import { bytes, type Message, type Transport } from '@weft/transport'
import { registry } from './metrics.ts'

const TOPIC = 'tracking.metrics.v1'

/** What the dashboard draws. */
const DRAWN = [
  'weft_ingest_events_total',
  'weft_stage_records_total',
  'weft_stage_lag',
  'weft_score',
  'weft_dead_letters_total',
  'weft_alerts_total',
  'weft_alerts_connections',
]

export interface PublishOptions {
  readonly everyMs?: number
  /** Names of metrics in the registry; of a histogram, its buckets, sum and count are published. */
  readonly metrics?: readonly string[]
  /** Values that did not change are sent again this often, so that whoever reads from here on gets them all. */
  readonly wholeEveryMs?: number
  readonly onError?: (error: unknown) => void
}

/**
 * Appends this process's metrics to tracking.metrics.v1 as they change, keyed by `service@host-pid`. Counters start at 0
 * with each process, as in Prometheus. Failing to append is told to `onError` and tried again with the next round.
 */
export function publishMetrics(
  transport: Transport,
  catalogue: Catalogue,
  service: string,
  { everyMs = 1_000, metrics = DRAWN, wholeEveryMs = 30_000, onError = () => {} }: PublishOptions = {},
): AsyncDisposable {
  const serviceId = `${service}@${hostname()}-${process.pid}`
  const codec = catalogue.codec(TOPIC)
  const sent = new Map<string, number>()
  let wholeAt = 0

  async function round(): Promise<void> {
    const now = Date.now()
    if (now - wholeAt >= wholeEveryMs) {
      sent.clear()
      wholeAt = now
    }
    const messages: Message[] = []
    const values: [string, number][] = []
    for (const name of metrics) {
      const metric = await registry.getSingleMetric(name)?.get()
      for (const sample of metric?.values ?? []) {
        const metricName = ('metricName' in sample && (sample.metricName as string | undefined)) || name
        const labels = Object.fromEntries(Object.entries(sample.labels).map(([label, value]) => [label, String(value)]))
        const id = metricName + JSON.stringify(labels)
        if (sent.get(id) === sample.value || !Number.isFinite(sample.value)) continue
        values.push([id, sample.value])
        const value = {
          service_id: serviceId,
          metric_name: metricName,
          labels,
          metric_value: sample.value,
          timestamp: now,
        }
        messages.push({ key: bytes(serviceId), value: codec.encode(value), time: now, schema: codec.schema })
      }
    }
    if (!messages.length) return
    await transport.append({ name: TOPIC }, messages)
    for (const [id, value] of values) sent.set(id, value)
  }

  let stopped = false
  let wake = () => {}
  const done = (async () => {
    while (!stopped) {
      await round().catch(onError)
      const { promise, resolve } = Promise.withResolvers<void>()
      wake = resolve
      const timer = setTimeout(resolve, everyMs)
      if (!stopped) await promise
      clearTimeout(timer)
    }
    await round().catch(onError)
  })()

  return {
    async [Symbol.asyncDispose]() {
      stopped = true
      wake()
      await done
    },
  }
}
