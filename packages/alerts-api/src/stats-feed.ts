import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { Catalogue } from '@weft/schema'
import { type From, HEADERS, headerOf, type Position, type Received, type Topic, type Transport } from '@weft/transport'
import type { Logger } from 'pino'
import { ALERTS } from './alert-log.ts'
import type { Stats } from './stats.ts'
import { toPositions, toVector, type Vector } from './vector.ts'

const METRICS: Topic = { name: 'tracking.metrics.v1' }
const DEAD_LETTERS: Topic = { name: 'events.dlq.v1' }
const HOUR = 3_600_000
/** Services publish everything again each half minute. */
const METRICS_BACK_MS = 60_000
const GROUPS_EVERY_MS = 2_000

interface Source {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly log: Logger
  readonly signal: AbortSignal
}

/**
 * Keeps the numbers current from the log: the services' metrics, dead letters, groups' lag. Of the alerts it reads those
 * of the last hour up to `until`: from there on the shared reader tells them.
 */
export async function feedStats(stats: Stats, until: Vector, source: Source): Promise<void> {
  const { catalogue } = source
  const metrics = catalogue.codec('tracking.metrics.v1')
  const letters = catalogue.codec('events.dlq.v1')
  await Promise.all([
    countAlerts(stats, until, source),
    follow(METRICS, { time: Date.now() - METRICS_BACK_MS }, source, message =>
      stats.metrics.take(metrics.decode(message)),
    ),
    follow(DEAD_LETTERS, 'earliest', source, message => {
      const { store_id, dead_letter_id } = letters.decode(message)
      stats.deadLetter(store_id, dead_letter_id, headerOf(message, HEADERS.outcome) !== undefined)
    }),
    pollGroups(stats, source),
  ])
}

async function countAlerts(stats: Stats, until: Vector, source: Source): Promise<void> {
  const codec = source.catalogue.codec('alerts.v1')
  const count = (message: Received) => {
    const { store_id: tenant, severity, state } = codec.decode(message)
    stats.alert({ tenant, severity, state, appendedAt: message.appendedAt })
  }
  await follow(ALERTS, { time: Date.now() - HOUR }, source, count, toPositions(until))
}

/** Numbers are better late than never: what fails is tried again, what was removed meanwhile is not missed. */
async function follow(
  topic: Topic,
  from: From,
  source: Source,
  take: (message: Received) => void,
  to?: readonly Position[],
): Promise<void> {
  const { transport, log, signal } = source
  let vector: Vector | undefined
  let start = from
  while (!signal.aborted) {
    try {
      vector ??= toVector(await transport.admin.positions(topic, start))
      const after = toPositions(vector)
      for await (const batch of transport.read(topic, { from: { after }, signal, ...(to && { to }) })) {
        for (const message of batch) {
          vector[message.position.partition] = message.position.at
          takeOne(message)
        }
        await turn()
      }
      return
    } catch (error) {
      if (signal.aborted) return
      log.warn({ err: error, topic: topic.name }, 'reading for the statistics failed, trying again')
      if ((error as { code?: unknown }).code === 'POSITION_GONE') [vector, start] = [undefined, 'latest']
      await wait(1_000, undefined, { signal }).catch(() => {})
    }
  }

  function takeOne(message: Received): void {
    if (message.value === null || message.headers?.some(([name]) => name === HEADERS.tick)) return
    try {
      take(message)
    } catch (error) {
      log.debug({ err: error, topic: topic.name }, 'a record is left out of the statistics')
    }
  }
}

async function pollGroups(stats: Stats, { transport, signal }: Source): Promise<void> {
  while (!signal.aborted) {
    const totals = new Map<string, { group: string; topic: string; lag: number }>()
    for (const { group, topic, lag } of await transport.admin.groups().catch(() => [])) {
      const key = JSON.stringify([group, topic.name])
      const total = totals.get(key) ?? { group, topic: topic.name, lag: 0 }
      total.lag += lag
      totals.set(key, total)
    }
    stats.groups = [...totals.values()]
    await wait(GROUPS_EVERY_MS, undefined, { signal }).catch(() => {})
  }
}
