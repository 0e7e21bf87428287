import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import type { Catalogue } from '@weft/schema'
import { type From, HEADERS, headerOf, type Received, type Topic, type Transport } from '@weft/transport'
import type { Logger } from 'pino'
import { ALERTS } from './alert-log.ts'
import type { Stats } from './stats.ts'
import { type Compare, comparing, toPositions, toVector, type Vector } from './vector.ts'

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
  await Promise.all([
    countAlerts(stats, until, source),
    follow(METRICS, { time: Date.now() - METRICS_BACK_MS }, source, message =>
      stats.metrics.take(metrics.decode(message)),
    ),
    follow(DEAD_LETTERS, 'earliest', source, message => stats.deadLetter(headerOf(message, HEADERS.tenant) ?? '')),
    pollGroups(stats, source),
  ])
}

async function countAlerts(stats: Stats, until: Vector, source: Source): Promise<void> {
  const codec = source.catalogue.codec('alerts.v1')
  const compare = comparing(source.transport)
  const done = new AbortController()
  const signal = AbortSignal.any([source.signal, done.signal])
  const left = new Set(until.keys())
  const reached = (partition: number, at: string) => {
    if (compare(partition, at, until[partition] as string) >= 0) left.delete(partition)
    if (left.size === 0) done.abort()
  }
  const from = toVector(await source.transport.admin.positions(ALERTS, { time: Date.now() - HOUR }))
  for (const [partition, at] of from.entries()) reached(partition, at)
  await follow(ALERTS, { after: toPositions(from) }, { ...source, signal }, message => {
    const { partition, at } = message.position
    if (left.has(partition) && isUpTo(compare, partition, at, until)) {
      const { store_id: tenant, severity, state } = codec.decode(message)
      stats.alert({ tenant, severity, state, appendedAt: message.appendedAt })
    }
    reached(partition, at)
  })
}

const isUpTo = (compare: Compare, partition: number, at: string, until: Vector): boolean =>
  compare(partition, at, until[partition] as string) <= 0

/** Numbers are better late than never: what fails is tried again, what was removed meanwhile is not missed. */
async function follow(topic: Topic, from: From, source: Source, take: (message: Received) => void): Promise<void> {
  const { transport, log, signal } = source
  let vector: Vector | undefined
  let start = from
  while (!signal.aborted) {
    try {
      vector ??= toVector(await transport.admin.positions(topic, start))
      for await (const batch of transport.read(topic, { from: { after: toPositions(vector) }, signal })) {
        for (const message of batch) {
          vector[message.position.partition] = message.position.at
          takeOne(message)
        }
        await turn()
      }
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
