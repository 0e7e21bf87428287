import { loadCatalogue } from '@weft/schema'
import { expect, test } from 'vitest'
import { DEFAULT_TASKS, loadScorer, parseRules, runTask, standardStages, tasksOf } from '../src/index.ts'
import { contents, linesOf, processed, RAW, rawMessage, shopping, temporaryStore, tickAll } from './store.ts'

const START = Date.UTC(2026, 2, 14, 12)
const MINUTE = 60_000

const rules = parseRules([
  { name: 'high', kind: 'threshold', raise: 0.2, clear: 0.1 },
  { name: 'lost', kind: 'threshold', raise: 0.05, clear: 0.01, on: 'session_end', unless: 'purchase' },
  { name: 'cart', kind: 'silence', after: 'add_to_cart', expect: 'purchase', within: '30s' },
  { name: 'busy', kind: 'count', events: 'page_view', count: 8, within: '1m' },
])

/** Topics whose partitions each have one partition of the input to thank for what they hold: their order is told, too. */
const ORDERED = [
  'events.validated.v1',
  'events.enriched.v1',
  'features.stream.v1',
  'features.latest.v1',
  'signals.scores.v1',
  'predictions.v1',
  'predictions.latest.v1',
  'models.prediction.audit.v1',
  'alerts.v1',
  'alerts.analytics.v1',
  'interventions.commands.v1',
]
const UNORDERED = ['events.late.v1', 'events.dlq.v1']

const ways = {
  'the default tasks': { tasks: DEFAULT_TASKS },
  'the default tasks again': { tasks: DEFAULT_TASKS },
  'one task, in transactions of seven records': {
    tasks: { all: ['validate', 'enrich', 'features', 'score', 'alert', 'intervene', 'settle'] },
    commitEvery: { messages: 7 },
  },
  'a task a stage': {
    tasks: Object.fromEntries(
      ['validate', 'enrich', 'features', 'score', 'alert', 'intervene', 'settle'].map(name => [name, [name]]),
    ),
  },
}

test('the same input gives the same bytes, whichever stages share a task and however the log is cut into transactions', async () => {
  const catalogue = await loadCatalogue()
  await using scorer = await loadScorer()
  const stages = standardStages({
    scorer,
    rules,
    interventions: [{ rule: 'lost', type: 'email', cooldownMs: 600_000 }],
    idleMs: 30 * MINUTE,
  })
  const events = shopping(150, START)
  const odd = events.flatMap((event, n) => {
    if (n % 50 === 0) return [event, { ...event, event_id: `${event.event_id}-bad`, type: 'nonsense' }]
    if (n % 31 === 0) return [event, event]
    if (n % 97 === 0) return [{ ...event, sent_at: event.sent_at - 20 * MINUTE }]
    return [event]
  })

  async function outputs(way: (typeof ways)[keyof typeof ways]) {
    await using store = await temporaryStore(catalogue)
    const { transport } = store
    for (let from = 0; from < odd.length; from += 200) {
      const slice = odd.slice(from, from + 200)
      await transport.append(
        RAW,
        slice.map(event => rawMessage(catalogue, event)),
      )
      await tickAll(transport, catalogue, slice.at(-1)?.received_at ?? 0)
    }
    await tickAll(transport, catalogue, START + 48 * 60 * MINUTE)
    const tasks = tasksOf(way.tasks, stages)
    await using running = new AsyncDisposableStack()
    const options = 'commitEvery' in way ? { commitEvery: way.commitEvery } : {}
    for (const task of tasks) running.use(await runTask(transport, catalogue, task, options))
    await processed(transport, tasks)
    const lines = new Map<string, string[]>()
    for (const topic of ORDERED) lines.set(topic, linesOf(await contents(transport, topic)))
    for (const topic of UNORDERED) lines.set(topic, linesOf(await contents(transport, topic)).toSorted())
    return lines
  }

  const [first, ...others] = Object.entries(ways)
  const expected = await outputs((first as NonNullable<typeof first>)[1])
  for (const topic of [...ORDERED, ...UNORDERED]) expect(expected.get(topic), topic).not.toHaveLength(0)
  const validated = expected.get('events.validated.v1')?.filter(line => !line.includes('weft-tick='))
  expect(validated).toHaveLength(events.length)
  for (const [name, way] of others) {
    const actual = await outputs(way)
    for (const topic of expected.keys()) expect(actual.get(topic), `${topic} by ${name}`).toEqual(expected.get(topic))
  }
})
