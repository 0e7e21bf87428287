import { collectDefaultMetrics, register } from 'prom-client'

export { Counter, Gauge, Histogram, Summary } from 'prom-client'

/** The process's one registry. It is prom-client's own, so a metric made without `registers` is in it, too. */
export const registry = register

/** Adds the process's own metrics (CPU, memory, event loop, garbage collection); a second call does nothing. */
export function processMetrics(): void {
  if (!registry.getSingleMetric('process_cpu_seconds_total')) collectDefaultMetrics({ register: registry })
}
