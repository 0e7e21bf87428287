import { type Alert, type EventRaw, loadCatalogue } from '@weft/schema'
import { Health, registry } from '@weft/telemetry'
import { type Message, type Received, text, WeftError } from '@weft/transport'
import { expect, test } from 'vitest'
import {
  groupOf,
  loadScorer,
  type PipelineOptions,
  parseRules,
  type Rule,
  runTask,
  stage,
  standardStages,
  startPipeline,
  type Task,
  tasksOf,
  validate,
} from '../src/index.ts'
import { begins, ends, raw, views } from './events.ts'
import { contents, processed, RAW, rawMessage, type Store, temporaryStore } from './store.ts'

const catalogue = await loadCatalogue()
const quiet = { info() {}, warn() {}, error() {} }

async function until<Value>(look: () => Promise<Value | undefined | false>): Promise<Value> {
  for (;;) {
    const found = await look()
    if (found) return found
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function alertsOf({ transport }: Store): Promise<Alert[]> {
  return (await contents(transport, 'alerts.v1')).map(message => catalogue.codec('alerts.v1').decode(message))
}

async function pipelineOn(store: Store, options: Partial<PipelineOptions> = {}) {
  const scorer = await loadScorer()
  const pipeline = await startPipeline({
    transport: store.transport,
    catalogue,
    scorer,
    log: quiet,
    tickMs: 50,
    ...options,
  })
  return {
    ...pipeline,
    async [Symbol.asyncDispose]() {
      await pipeline[Symbol.asyncDispose]()
      await scorer[Symbol.asyncDispose]()
    },
  }
}

const now = () => ({ sent_at: Date.now(), received_at: Date.now() })

test('an event becomes an alert that carries its tenant and its trace', async () => {
  await using store = await temporaryStore(catalogue)
  const rules = () => parseRules([{ name: 'any', kind: 'threshold', raise: 0, clear: 0 }])
  await using _ = await pipelineOn(store, { rules })
  await store.transport.append(RAW, [rawMessage(catalogue, begins(now()))])
  const message = await until(async () => (await contents(store.transport, 'alerts.v1'))[0])
  const headers = Object.fromEntries((message.headers ?? []).map(([name, value]) => [name, text(value)]))
  expect(headers).toEqual({ 'weft-tenant': 'aurora', traceparent: expect.stringContaining('1'.repeat(32)) })
  expect(text(message.key ?? Buffer.of())).toBe('aurora:s1')
})

test('rules change without a restart, in the log, so that a replay of the log changes them at the same place', async () => {
  await using store = await temporaryStore(catalogue)
  let rules: Rule[] = []
  {
    await using _ = await pipelineOn(store, { rules: () => rules })
    await store.transport.append(RAW, [rawMessage(catalogue, begins({ ...now(), session_id: 'before' }))])
    await until(async () => (await contents(store.transport, 'signals.scores.v1')).some(({ key }) => key))
    rules = parseRules([{ name: 'any', kind: 'threshold', raise: 0, clear: 0 }])
    for (let n = 0; (await alertsOf(store)).length === 0; n++) {
      await store.transport.append(RAW, [rawMessage(catalogue, begins({ ...now(), session_id: `after-${n}` }))])
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  const alerts = await alertsOf(store)
  expect(alerts.map(({ session_id }) => session_id)).not.toContain('before')

  await using copy = await temporaryStore(catalogue)
  for (const message of await contents(store.transport, RAW.name)) {
    await copy.transport.append(RAW, [message], { partition: message.position.partition })
  }
  await using scorer = await loadScorer()
  const tasks = tasksOf(
    { all: ['validate', 'enrich', 'features', 'score', 'alert'] },
    standardStages({ scorer, rules: [] }),
  )
  await using __ = await runTask(copy.transport, catalogue, tasks[0] as Task)
  await processed(copy.transport, tasks)
  expect(await alertsOf(copy)).toEqual(await alertsOf(store))
})

test('a session that ends without a purchase is intervened once, and the delivery has one result', async () => {
  await using store = await temporaryStore(catalogue)
  const delivered: string[] = []
  await using _ = await pipelineOn(store, {
    rules: () =>
      parseRules([{ name: 'lost', kind: 'threshold', raise: 0, clear: 0, on: 'session_end', unless: 'purchase' }]),
    interventions: [{ rule: 'lost', type: 'email', cooldownMs: 60_000 }],
    retry: { maxAttempts: 3, minMs: 1 },
    async deliver({ cmd_id, session_id }, { attempt }) {
      delivered.push(`${session_id} ${attempt}`)
      if (session_id === 's2' || attempt === 1) throw new Error(`no answer for ${cmd_id.length} digits`)
    },
  })
  const session = (session_id: string, ...more: ReturnType<typeof raw>[]) =>
    [begins(now()), views('product', 5, now()), ...more, ends(20, now())].map(event => ({
      ...event,
      session_id,
      user_id: session_id,
    }))
  const bought = raw('purchase', { elapsed_ms: 10 }, now())
  const events = [...session('s1'), ...session('s2'), ...session('s3', bought)]
  await store.transport.append(
    RAW,
    events.map(event => rawMessage(catalogue, event)),
  )
  const results = await until(async () => {
    const found = await contents(store.transport, 'interventions.results.v1')
    return found.length === 2 && found.map(message => catalogue.codec('interventions.results.v1').decode(message))
  })
  const told = results.map(({ session_id, status, attempts }) => `${session_id} ${status} ${attempts}`)
  expect(told.toSorted()).toEqual(['s1 success 2', 's2 failed 3'])
  expect(delivered.toSorted()).toEqual(['s1 1', 's1 2', 's2 1', 's2 2', 's2 3'])
  const [letter] = await contents(store.transport, 'events.dlq.v1')
  expect(catalogue.codec('events.dlq.v1').decode(letter as Received)).toMatchObject({
    error_code: 'UNDELIVERED',
    consumer: 'delivery',
    attempts: 3,
    original_topic: 'interventions.commands.v1',
  })
})

const picky = stage<'events.raw.v1', 'events.validated.v1'>({
  ...validate(),
  name: 'picky',
  process(record, context) {
    if (record.value.type === 'purchase') throw new Error('this stage has a bug')
    if (record.value.type === 'add_to_cart') throw new WeftError('INVALID', 'this stage refuses carts')
    validate().process?.(record, context)
  },
} as Parameters<typeof stage<'events.raw.v1', 'events.validated.v1'>>[0])

test('a record that a stage cannot process is dead-lettered with its cause and attempts, the others go through in order', async () => {
  await using store = await temporaryStore(catalogue)
  const codec = catalogue.codec('events.raw.v1')
  const events = [
    begins(),
    raw('add_to_cart', { elapsed_ms: 1, product_id: 'p' }),
    views('product', 2),
    raw('purchase', { elapsed_ms: 3 }),
    ends(4),
  ]
  const messages = events.map(event => rawMessage(catalogue, event))
  messages.splice(2, 0, { ...(messages[0] as Message), value: Buffer.from('not avro') })
  await store.transport.append(RAW, messages)
  const task = { name: 'picky', stages: [picky] }
  await using _ = await runTask(store.transport, catalogue, task, { retry: { maxAttempts: 3, minMs: 1, maxMs: 2 } })
  await processed(store.transport, [task])
  const letters = (await contents(store.transport, 'events.dlq.v1')).map(message =>
    catalogue.codec('events.dlq.v1').decode(message),
  )
  expect(letters.map(({ error_code, attempts }) => `${error_code} ${attempts}`).toSorted()).toEqual([
    'FAILED 3',
    'INVALID 1',
    'SCHEMA 1',
  ])
  expect(letters.every(({ consumer }) => consumer === 'picky')).toBe(true)
  const through = (await contents(store.transport, 'events.validated.v1')).map(
    message => catalogue.codec('events.validated.v1').decode(message).event_id,
  )
  expect(through).toEqual([events[0], events[2], events[4]].map(event => event?.event_id))
  expect(letters.find(({ error_code }) => error_code === 'FAILED')?.original_value).toEqual(
    Buffer.from(codec.encode(events[3] as EventRaw)),
  )
})

test('health, lag and counts tell of the tasks', async () => {
  await using store = await temporaryStore(catalogue)
  const health = new Health()
  {
    await using pipeline = await pipelineOn(store, { health })
    await store.transport.append(RAW, [rawMessage(catalogue, begins(now()))])
    await until(async () => (await contents(store.transport, 'signals.scores.v1')).some(({ key }) => key))
    expect([...pipeline.running.keys()]).toEqual(['ingest', 'signal', 'action', 'delivery'])
    const report = await health.ready()
    expect(report).toMatchObject({ ok: true })
    expect(Object.keys(report.checks)).toContain('pipeline signal')
    const metrics = await registry.metrics()
    expect(metrics).toMatch(/weft_stage_records_total\{stage="validate",direction="in"\} [1-9]/)
    expect(metrics).toMatch(/weft_stage_lag\{stage="enrich"\} \d/)
  }
  expect((await health.ready()).checks).toEqual({})
})

test('a configuration of tasks that makes no sense is refused with every fault', async () => {
  await using store = await temporaryStore(catalogue)
  const tasks = { ingest: ['validate', 'enrihc'], again: ['validate'], 'no name': [] }
  await expect(pipelineOn(store, { tasks })).rejects.toThrow(
    /enrihc is no stage.*validate runs in task ingest already.*no name: expected a name.*no name: has no stages/s,
  )
  await expect(pipelineOn(store, { tasks: { back: ['enrich', 'validate'] } })).rejects.toThrow('move validate up')
})

test('a task that is renamed starts over, so a group has the name of its task', () => {
  expect(groupOf({ name: 'signal', stages: [] })).toBe('weft.signal')
})

test('a record that would become too large for the log is dead-lettered alone', async () => {
  await using store = await temporaryStore(catalogue)
  const most = store.transport.guarantees.maxMessageBytes
  const about = { event_id: 'large', referrer: 'r'.repeat(most - 500) }
  const events = [begins({ event_id: 'first' }), begins(about), begins({ event_id: 'last' })]
  for (const event of events) await store.transport.append(RAW, [rawMessage(catalogue, event)])
  const task = { name: 'ingest', stages: [validate()] }
  await using _ = await runTask(store.transport, catalogue, task, { retry: { maxAttempts: 2, minMs: 1 } })
  await processed(store.transport, [task])
  const through = (await contents(store.transport, 'events.validated.v1')).map(
    message => catalogue.codec('events.validated.v1').decode(message).event_id,
  )
  expect(through).toEqual(['first', 'last'])
  const letters = (await contents(store.transport, 'events.dlq.v1')).map(message =>
    catalogue.codec('events.dlq.v1').decode(message),
  )
  expect(letters).toMatchObject([{ error_code: 'TOO_LARGE', original_value: null }])
})

test('records wait while what is needed for them is unavailable, and are not to blame for it', async () => {
  await using store = await temporaryStore(catalogue)
  await store.transport.append(RAW, [rawMessage(catalogue, begins())])
  let outages = 12
  const needy = stage<'events.raw.v1', 'events.validated.v1'>({
    ...validate(),
    process(record, context) {
      if (outages-- > 0) throw new WeftError('UNAVAILABLE', 'the model is being loaded')
      validate().process?.(record, context)
    },
  } as Parameters<typeof stage<'events.raw.v1', 'events.validated.v1'>>[0])
  const told: string[] = []
  const task = { name: 'ingest', stages: [needy] }
  await using _ = await runTask(store.transport, catalogue, task, {
    retry: { maxAttempts: 2, minMs: 1, maxMs: 2 },
    onRetry: (error, attempts) => told.push(`${(error as Error).message} ${attempts}`),
  })
  await processed(store.transport, [task])
  expect(await contents(store.transport, 'events.validated.v1')).toHaveLength(1)
  expect(await contents(store.transport, 'events.dlq.v1')).toHaveLength(0)
  expect(told).toHaveLength(12)
  expect(told.at(-1)).toBe('the model is being loaded 12')
})
