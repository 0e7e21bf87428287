import { isSpanContextValid } from '@opentelemetry/api'
import { Counter, Gauge, Histogram, traceOf, tracer } from '@weft/telemetry'
import { HEADERS, type Received, type Running } from '@weft/transport'
import { type Count, isTick, type Lanes } from './walk.ts'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

const records = new Counter({
  name: 'weft_stage_records_total',
  help: 'Records by stage: in, out, dead (to events.dlq.v1), late (to events.late.v1), duplicate',
  labelNames: ['stage', 'direction'],
})
const batchRecords = new Histogram({
  name: 'weft_stage_batch_records',
  help: 'Records of a transaction by task',
  labelNames: ['task'],
  buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500],
})
const latency = new Histogram({
  name: 'weft_stage_latency_seconds',
  help: 'From the gateway taking an event to what a task wrote of it, by topic; the oldest of each transaction',
  labelNames: ['task', 'topic'],
  buckets: SECONDS,
})
const retries = new Counter({
  name: 'weft_stage_retries_total',
  help: 'Transactions of a task that failed and are tried again',
  labelNames: ['task'],
})
export const deadLetters = new Counter({
  name: 'weft_dead_letters_total',
  help: 'Records that went to events.dlq.v1, by the topic they were read from and the reason',
  labelNames: ['topic', 'code'],
})
const scores = new Histogram({
  name: 'weft_score',
  help: 'Scores of the model',
  labelNames: ['tenant'],
  buckets: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
})
const alerts = new Counter({
  name: 'weft_alerts_total',
  help: 'Alerts raised',
  labelNames: ['tenant', 'rule', 'severity'],
})

const working = new Map<Running, readonly string[]>()
new Gauge({
  name: 'weft_stage_lag',
  help: 'Records not processed yet by the task that a stage runs in, of the partitions that this process has',
  labelNames: ['stage'],
  async collect() {
    const lags = await Promise.all(
      [...working].map(async ([running, stages]) => [stages, await running.lag().catch(() => [])] as const),
    )
    this.reset()
    for (const [stages, lag] of lags) {
      const behind = lag.reduce((sum, { messages }) => sum + messages, 0)
      for (const stage of stages) this.inc({ stage }, behind)
    }
  },
})

/** Shows the lag of stages that share a task until what it returns is called. */
export function showLag(stages: readonly string[], running: Running): () => void {
  working.set(running, stages)
  return () => void working.delete(running)
}

export interface Observer {
  began(batch: readonly Received[]): { readonly count: Count; ended(lanes: Lanes): void }
  retried(): void
}

/** Counts what a task did, once its outputs are in the transaction, and draws a span for each record that is traced. */
export function observer(task: { readonly name: string }): Observer {
  const spans = tracer('pipeline')
  let tracing = false
  return {
    began(batch) {
      const started = Date.now()
      const counted = new Map<string, number>()
      return {
        count: (stage, direction, n) => {
          const name = `${stage} ${direction}`
          counted.set(name, (counted.get(name) ?? 0) + n)
        },
        ended(lanes) {
          batchRecords.observe({ task: task.name }, batch.length)
          for (const [name, n] of counted) {
            const [stage, direction] = name.split(' ') as [string, string]
            records.inc({ stage, direction }, n)
          }
          for (const [topic, items] of lanes) observeLane(task.name, topic, items)
          trace(batch, started)
        },
      }
    },
    retried: () => retries.inc({ task: task.name }),
  }

  function trace(batch: readonly Received[], startTime: number): void {
    // Until tracing is started every span is the same nothing, and reading a context for it would cost.
    tracing ||= isSpanContextValid(spans.startSpan('probe').spanContext())
    if (!tracing) return
    for (const message of batch) {
      if (!message.headers?.some(([name]) => name === HEADERS.trace)) continue
      const span = spans.startSpan(`weft ${task.name}`, { startTime }, traceOf(message))
      span.setAttribute('messaging.destination.name', message.topic.name)
      span.end()
    }
  }
}

function observeLane(task: string, topic: string, items: Parameters<Lanes['set']>[1]): void {
  let oldest = Number.POSITIVE_INFINITY
  for (const item of items) {
    if (isTick(item)) continue
    const value = item.value as Record<string, unknown>
    if (typeof value.received_at === 'number') oldest = Math.min(oldest, value.received_at)
    if (topic === 'signals.scores.v1') scores.observe({ tenant: String(value.store_id) }, Number(value.score))
    if (topic === 'alerts.v1' && value.state === 'raised') {
      alerts.inc({ tenant: String(value.store_id), rule: String(value.rule), severity: String(value.severity) })
    }
    if (topic === 'events.dlq.v1')
      deadLetters.inc({ topic: String(value.original_topic), code: String(value.error_code) })
  }
  if (oldest < Number.POSITIVE_INFINITY) latency.observe({ task, topic }, Math.max(0, Date.now() - oldest) / 1000)
}
