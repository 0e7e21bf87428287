import { type Catalogue, type Events, entityKey } from '@weft/schema'
import { type Received, type Transport, text } from '@weft/transport'
import { isTick } from '../../src/records.ts'
import { endsAt, spanOf } from '../../src/span.ts'
import type { Told } from './shopper.ts'

type Name = keyof Events & string

export interface Entry<Value> {
  readonly key: string
  readonly value: Value
}

/** All records of a topic, partition by partition in order, ticks left out. */
export async function contents<Topic extends Name>(
  transport: Transport,
  catalogue: Catalogue,
  name: Topic,
): Promise<Entry<Events[Topic]>[]> {
  const ends = await endsAt(transport, { name }, 'latest')
  const byPartition = new Map<number, Received[]>()
  const signal = new AbortController().signal
  for await (const batch of spanOf(transport, { name }, { from: 'earliest', ends, signal }))
    for (const message of batch) {
      const partition = byPartition.get(message.position.partition)
      if (partition) partition.push(message)
      else byPartition.set(message.position.partition, [message])
    }
  const codec = catalogue.codec(name)
  return [...byPartition.values()]
    .flat()
    .filter(message => !isTick(message))
    .map(message => ({ key: message.key ? text(message.key) : '', value: codec.decode(message) }))
}

/** Without the later ones of the same id. */
export function firstOfEach<Value>(entries: readonly Entry<Value>[], idOf: (value: Value) => string): Entry<Value>[] {
  const seen = new Set<string>()
  return entries.filter(({ value }) => {
    const id = idOf(value)
    return !seen.has(id) && seen.add(id)
  })
}

/** Every event that was answered is in the log once, and what was answered is true. */
export function faultsOfAnswers(told: Told, raw: readonly Entry<Events['events.raw.v1']>[]): string[] {
  const faults = differences(
    'events.raw.v1',
    [...told.keys()],
    raw.map(({ value }) => value.event_id),
  )
  for (const [id, answers] of told) {
    if (answers.includes('rejected')) faults.push(`${id} was rejected`)
    if (answers.filter(answer => answer === 'accepted').length > 1) faults.push(`${id} was accepted twice`)
    if (answers.slice(1).includes('accepted')) faults.push(`${id} was accepted after another answer`)
  }
  for (const { key, value } of raw)
    if (key !== entityKey(value)) faults.push(`events.raw.v1: ${value.event_id} has the key ${key}`)
  return faults
}

/** What is made of each event is there once, and each entity's in the order of its events. */
export function faultsOfCopies(
  topic: string,
  raw: readonly Entry<Events['events.raw.v1']>[],
  copies: readonly { readonly key: string; readonly id: string }[],
): string[] {
  const ids = raw.map(({ value }) => value.event_id)
  const faults = differences(
    topic,
    ids,
    copies.map(({ id }) => id),
  )
  if (faults.length > 0) return faults
  const inOrder = Map.groupBy(copies, ({ key }) => key)
  for (const [key, events] of Map.groupBy(raw, each => each.key)) {
    const wanted = events.map(({ value }) => value.event_id).join(' ')
    const is = inOrder
      .get(key)
      ?.map(({ id }) => id)
      .join(' ')
    if (is !== wanted) faults.push(`${topic}: ${key} has ${is}, not ${wanted}`)
  }
  return faults
}

/** Both lists hold the same, each once. A sentence for each that is missing, is there more than once, or too much. */
export function differences(where: string, wanted: readonly string[], found: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const id of found) counts.set(id, (counts.get(id) ?? 0) + 1)
  const faults: string[] = []
  for (const id of wanted) {
    const count = counts.get(id) ?? 0
    if (count !== 1) faults.push(`${where}: ${id} is there ${count} times`)
    counts.delete(id)
  }
  for (const id of counts.keys()) faults.push(`${where}: ${id} should not be there`)
  return faults
}

const MINUTE = 60_000
const GRACE = 10_000

type Minute = Pick<
  Events['alerts.analytics.v1'],
  'alerts' | 'by_rule' | 'by_severity' | 'events' | 'scores' | 'score_sum' | 'score_max'
>

/** The analytics of each minute, computed again from scores and alerts, and which scores came too late for theirs. */
export function faultsOfMinutes(
  scores: readonly Entry<Events['signals.scores.v1']>[],
  alerts: readonly Entry<Events['alerts.v1']>[],
  analytics: readonly Entry<Events['alerts.analytics.v1']>[],
  late: readonly Entry<Events['events.late.v1']>[],
): string[] {
  const minutes = new Map<string, Minute>()
  const expectedLate: string[] = []
  const minuteOf = (entity: string, time: number, clock: number): Minute | undefined => {
    const start = Math.floor(time / MINUTE) * MINUTE
    if (start + MINUTE + GRACE <= clock) return undefined
    const id = `${entity} at ${start}`
    const nothing = { alerts: 0, by_rule: {}, by_severity: {}, events: 0, scores: 0, score_sum: 0, score_max: 0 }
    const minute = minutes.get(id) ?? nothing
    minutes.set(id, minute)
    return minute
  }
  for (const { key, value } of scores) {
    const { sent_at, received_at, scored_at, score, source_event_id } = value
    const minute = minuteOf(key, Math.min(sent_at, received_at), scored_at)
    if (!minute) {
      expectedLate.push(source_event_id)
      continue
    }
    minute.events++
    minute.scores++
    minute.score_sum += score
    minute.score_max = Math.max(minute.score_max, score)
  }
  for (const { key, value } of alerts) {
    const { state, rule, severity, event_time, raised_at } = value
    const minute = state === 'raised' ? minuteOf(key, event_time, raised_at) : undefined
    if (!minute) continue
    minute.alerts++
    minute.by_rule[rule] = (minute.by_rule[rule] ?? 0) + 1
    minute.by_severity[severity] = (minute.by_severity[severity] ?? 0) + 1
  }
  const shown = ({ alerts, by_rule, by_severity, events, scores, score_sum, score_max }: Minute) =>
    JSON.stringify([alerts, sorted(by_rule), sorted(by_severity), events, scores, score_sum, score_max])
  const wanted = [...minutes].map(([id, minute]) => `${id}: ${shown(minute)}`)
  const found = analytics
    .filter(({ value }) => value.window === '1m')
    .map(({ key, value }) => `${key} at ${value.window_start}: ${shown(value)}`)
  const foundLate = late.filter(({ value }) => value.window === '1m').map(({ value }) => value.source_event_id ?? '')
  return [
    ...differences('alerts.analytics.v1', wanted, found),
    ...differences('events.late.v1', expectedLate, foundLate),
  ]
}

const sorted = (counts: Readonly<Record<string, number>>) => Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))
