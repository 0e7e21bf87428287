import { createHash, type Hash } from 'node:crypto'
import { type EventRaw, loadCatalogue } from '@weft/schema'
import { expect, test } from 'vitest'
import {
  DEFAULT_TASKS,
  type Driven,
  drive,
  loadScorer,
  parseRules,
  type Stage,
  standardStages,
  tasksOf,
} from '../src/index.ts'
import { shopping } from './store.ts'

const START = Date.UTC(2026, 2, 14)
const SESSIONS = 12_330
const DAY = 86_400_000

const rules = parseRules([
  { name: 'high', kind: 'threshold', raise: 0.3, clear: 0.2 },
  { name: 'cart', kind: 'silence', after: 'add_to_cart', expect: 'purchase', within: '30s' },
  { name: 'busy', kind: 'count', events: 'page_view', count: 10, within: '1m' },
])

test('replaying all 12,330 sessions gives the same bytes on every topic, fused or split', {
  timeout: 300_000,
}, async () => {
  const catalogue = await loadCatalogue()
  await using scorer = await loadScorer()
  const events = shopping(SESSIONS, START)
  const stages = standardStages({ scorer, rules, interventions: [{ rule: 'cart', type: 'email', cooldownMs: DAY }] })

  /** A hash of each topic and how many records it has. */
  async function hashes(groups: readonly (readonly Stage[])[], batch: number) {
    const topics = new Map<string, { hash: Hash; records: number }>()
    const driven = groups.map(group => drive(group))
    const pass = async (work: (first: Driven) => Promise<void>, tick?: number) => {
      let feed = work
      for (const each of driven) {
        await feed(each)
        if (tick !== undefined) await each.tick(tick)
        const taken = each.take()
        const forward: object[] = []
        for (const { topic, key, time, value } of taken) {
          const codec = catalogue.codec(topic as 'alerts.v1')
          const bytes = codec.encode(value as never)
          const seen = topics.get(topic) ?? { hash: createHash('sha256'), records: 0 }
          topics.set(topic, seen)
          seen.hash.update(`${key} ${time} `).update(bytes)
          seen.records++
          // What the next task reads is what was written, not what was meant.
          if (groups.length > 1) forward.push(codec.decode({ value: bytes }))
        }
        const next = groups[driven.indexOf(each) + 1]?.[0]?.reads[0]
        feed = other => other.feed(...forward.filter((_, n) => taken[n]?.topic === next))
      }
    }
    for (let from = 0; from < events.length; from += batch) {
      const slice: EventRaw[] = events.slice(from, from + batch)
      await pass(first => first.feed(...slice))
    }
    await pass(() => Promise.resolve(), START + 9 * DAY)
    return Object.fromEntries(
      [...topics].map(([name, { hash, records }]) => [name, `${records} ${hash.digest('hex')}`]),
    )
  }

  const fused = await hashes([stages], 2500)
  const split = await hashes(
    tasksOf(DEFAULT_TASKS, stages).map(task => task.stages),
    1111,
  )
  expect(split).toEqual(fused)
  for (const topic of ['events.validated.v1', 'features.stream.v1', 'signals.scores.v1']) {
    expect(fused[topic], topic).toMatch(new RegExp(`^${events.length} `))
  }
  expect(Object.keys(fused)).toEqual(
    expect.arrayContaining(['alerts.v1', 'alerts.analytics.v1', 'interventions.commands.v1']),
  )
})
