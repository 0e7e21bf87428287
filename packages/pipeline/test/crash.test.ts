import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { loadCatalogue } from '@weft/schema'
import { expect, test } from 'vitest'
import { DEFAULT_TASKS, loadScorer, parseRules, runTask, standardStages, tasksOf } from '../src/index.ts'
import {
  contents,
  linesOf,
  processed,
  RAW,
  rawMessage,
  rulesOfCrash,
  type Store,
  shopping,
  temporaryStore,
} from './store.ts'

const catalogue = await loadCatalogue()
const program = fileURLToPath(new URL('child.ts', import.meta.url))
const KILLS = 5

/** Numbers from 0 up to 1 that follow from the seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

async function start(url: string, mode: string): Promise<ChildProcess> {
  const child = fork(program, [url, mode], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`the child ended with ${code} before it was ready`))),
  ])
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** Appends events while a child works on them and is killed again and again, each time after a random while. */
async function underFire(store: Store, mode: string, kills: number, random: () => number): Promise<number> {
  const now = Date.now()
  const events = shopping(60, 0).map(event => rawMessage(catalogue, { ...event, sent_at: now, received_at: now }))
  const slice = Math.ceil(events.length / (kills * 4))
  let appended = 0
  const more = async () => {
    await store.transport.append(RAW, events.slice(appended, appended + slice))
    appended = Math.min(events.length, appended + slice)
  }
  for (let n = 0; n < kills; n++) {
    // Every other time two share the partitions, and hand them over.
    const children = await Promise.all(Array.from({ length: 1 + (n % 2) }, () => start(store.url, mode)))
    const until = Date.now() + 20 + random() * 250
    while (Date.now() < until) {
      if (appended < events.length) await more()
      else await new Promise(resolve => setTimeout(resolve, 5))
    }
    await Promise.all(children.map(kill))
  }
  while (appended < events.length) await more()
  return events.length
}

test('a pipeline that is killed again and again leaves what an undisturbed one leaves, byte for byte', {
  timeout: 120_000,
}, async () => {
  const seed = Date.now() % 1_000_000
  console.log(`crash seed ${seed}`)
  await using scorer = await loadScorer()
  const stages = standardStages({
    scorer,
    rules: parseRules(rulesOfCrash),
    interventions: [{ rule: 'lost', type: 'email', cooldownMs: 60_000 }],
    graceMs: 500,
  })
  const tasks = tasksOf(DEFAULT_TASKS, stages)

  await using store = await temporaryStore(catalogue)
  const sent = await underFire(store, 'pipeline', KILLS, randomOf(seed))
  const finish = async ({ transport }: Store) => {
    await using running = new AsyncDisposableStack()
    for (const task of tasks) running.use(await runTask(transport, catalogue, task))
    await processed(transport, tasks)
  }
  await finish(store)

  await using calm = await temporaryStore(catalogue)
  for (const message of await contents(store.transport, RAW.name)) {
    await calm.transport.append(RAW, [message], { partition: message.position.partition })
  }
  await finish(calm)

  const validated = await contents(store.transport, 'events.validated.v1')
  const ids = validated
    .filter(({ key }) => key)
    .map(message => catalogue.codec('events.validated.v1').decode(message).event_id)
  expect(ids).toHaveLength(sent)
  expect(new Set(ids).size).toBe(sent)
  const topics = [...catalogue.topics.keys()].filter(name => !/raw|receipts|results/.test(name))
  for (const name of topics) {
    const [under, undisturbed] = [await contents(store.transport, name), await contents(calm.transport, name)]
    expect(linesOf(under).toSorted(), `${name}, seed ${seed}`).toEqual(linesOf(undisturbed).toSorted())
  }
  expect(await contents(store.transport, 'alerts.v1')).not.toHaveLength(0)
})

test('without a transaction the same kills leave duplicates: the check can fail', { timeout: 120_000 }, async () => {
  const seed = Date.now() % 1_000_000
  console.log(`crash seed ${seed}`)
  const random = randomOf(seed)
  await using store = await temporaryStore(catalogue)
  const rounds = 10
  for (let round = 0; round < rounds; round++) {
    await underFire(store, 'without', 2, random)
    const keys = (await contents(store.transport, 'events.validated.v1')).map(({ value }) =>
      Buffer.from(value ?? []).toString('base64'),
    )
    if (new Set(keys).size < keys.length) return
  }
  expect.fail(`no duplicate in ${2 * rounds} kills, seed ${seed}`)
})
