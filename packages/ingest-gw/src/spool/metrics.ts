import { Counter, Gauge, registry } from '@weft/telemetry'
import type { Spool } from './spool.ts'

const registers = [registry]
const spools = new Set<Spool>()

/** Shows a spool in the metrics until it is disposed. */
export function observe(spool: Spool): Disposable {
  spools.add(spool)
  return { [Symbol.dispose]: () => void spools.delete(spool) }
}

const gauge = (name: string, help: string, of: (spool: Spool) => number) =>
  new Gauge({
    name,
    help,
    registers,
    collect() {
      this.set([...spools].reduce((sum, spool) => sum + of(spool), 0))
    },
  })

gauge(
  'weft_ingest_spool_bytes',
  'Bytes of the spool on disk, what is replayed and not yet deleted included.',
  spool => spool.bytes,
)
gauge('weft_ingest_spool_events', 'Events that wait in the spool for the log.', spool => spool.events)
gauge('weft_ingest_spool_oldest_seconds', 'How long the oldest of them has waited; 0 without any.', ({ oldestAt }) =>
  oldestAt === undefined ? 0 : (Date.now() - oldestAt) / 1000,
)

export const spooled = new Counter({
  name: 'weft_ingest_spooled_events_total',
  help: 'Events that were kept in the spool because the log did not take them.',
  registers,
})
export const replayed = new Counter({
  name: 'weft_ingest_spool_replayed_events_total',
  help: 'Events of the spool that the log has taken.',
  registers,
})
export const refused = new Counter({
  name: 'weft_ingest_spool_set_aside_events_total',
  help: 'Events of the spool that the log refuses for good: they lie in its folder set-aside.',
  registers,
})
export const faults = new Counter({
  name: 'weft_ingest_spool_faults_total',
  help: 'Places of the spool that could not be read: torn, damaged, missing.',
  labelNames: ['kind'] as const,
  registers,
})
