/**
 * Exactly-once read-process-write on Kafka: parse JSON, count per key and minute in state with a changelog, emit each
 * count, a transaction every 100 ms. Beside it the same in Kafka Streams with exactly_once_v2 (kafka-streams/), and the
 * same work with the same local state and the same records written, but without transactions.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetched, java } from '@weft/local/servers'
import { bytes, type Message, type Topic, type Transport, text } from '@weft/transport'
import { LocalState, stateKey } from '../packages/transport/src/kafka/local-state.ts'
import { address, check, fill, freshTopic, onKafka, openKafka, PARTITIONS } from './kafka-broker.ts'
import type { Figures } from './side-by-side.ts'

const [EVENTS, WARM, KEYS, COMMIT_MS] = [600_000, 150_000, 1_000, 100]
const input = { name: 'events' }
const start = Date.UTC(2026, 0, 1)

function* events(): Iterable<Message> {
  for (let i = 0; i < EVENTS; i++) {
    const user = `user-${(i * 7919) % KEYS}`
    const at = start + i
    const body = { event_id: `e${i}`, user, type: 'page_view', at, page: '/products/42', price: 19.9 }
    yield { key: bytes(user), value: bytes(JSON.stringify(body)), time: at }
  }
}

async function prepare(): Promise<void> {
  await compile()
  await using transport = await openKafka()
  await transport.admin.ensure([{ topic: input, partitions: PARTITIONS }])
  await fill(transport, input, events())
}

const keyOf = ({ value }: Message): [user: string, minute: number] => {
  const event = JSON.parse(text(value as Uint8Array))
  return [event.user, Math.floor(event.at / 60_000)]
}

const emitted = ({ key, time }: Message, user: string, minute: number, count: number): Message => ({
  key: key as Uint8Array,
  value: bytes(JSON.stringify({ user, minute, count })),
  time,
})

/** Counts what goes by; `all` resolves after the last event. */
function passing() {
  const { promise: all, resolve } = Promise.withResolvers<void>()
  let [seen, began] = [0, 0]
  const pass = (count: number) => {
    if (seen < WARM && seen + count >= WARM) began = performance.now()
    seen += count
    if (seen === EVENTS) resolve()
  }
  return { all, pass, rate: () => ((EVENTS - WARM) * 1_000) / (performance.now() - began) }
}

/** Of this process until now, for each event. */
function cpu(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / EVENTS
}

async function exactlyOnce(): Promise<Figures> {
  await using transport = await openKafka()
  const output = await freshTopic(transport, 'counts')
  const { all, pass, rate } = passing()
  const running = await transport.transact(
    [input],
    { group: output.name, commitEvery: { ms: COMMIT_MS, messages: EVENTS } },
    (messages, transaction) => {
      const out = messages.map(message => {
        const [user, minute] = keyOf(message)
        const key = bytes(`${user}|${minute}`)
        const before = transaction.get('counts', key)
        const count = (before ? Number(text(before)) : 0) + 1
        transaction.set('counts', key, bytes(String(count)))
        return emitted(message, user, minute, count)
      })
      transaction.append(output, out)
      pass(messages.length)
    },
  )
  await all
  await running[Symbol.asyncDispose]()
  const figures = { 'events/s': rate(), 'CPU µs/event': cpu() }
  await verify(transport, output)
  return figures
}

/**
 * What exactly-once costs is the transaction, so all else is the same: counts in the same local store with a changelog,
 * outputs, and the group's positions (a record for each partition, as the broker would write them), gathered over the
 * same time. After a crash outputs come twice and counts are too high.
 */
async function without(): Promise<Figures> {
  await using transport = await openKafka()
  const [output, changelog, positions] = [
    await freshTopic(transport, 'counts'),
    await freshTopic(transport, 'changes'),
    await freshTopic(transport, 'positions'),
  ]
  const { end } = await transport.admin.describe(input)
  const { pass, rate } = passing()
  const local = await LocalState.open(undefined)
  const states = Array.from({ length: PARTITIONS }, (_, partition) => ({
    copy: local.partition('bench', output.name, partition),
    changes: new Map<string, Uint8Array>(),
    flushed: undefined as bigint | undefined,
  }))
  let [out, flushing] = [[] as Message[], Promise.resolve<unknown>(undefined)]
  let reached = new Map<number, string>()
  const flush = async () => {
    await flushing
    const changed: Message[] = []
    for (const state of states) {
      if (state.changes.size === 0) continue
      for (const [key, value] of state.changes) changed.push({ key: Buffer.from(key, 'latin1'), value, time: start })
      const next = (state.flushed ?? 0n) + BigInt(state.changes.size)
      await state.copy.apply(state.changes, next, state.flushed)
      state.flushed = next
      state.changes = new Map()
    }
    const at = [...reached].map(([partition, at]) => ({ key: bytes(`${partition}`), value: bytes(at), time: start }))
    const written = Promise.all([transport.append(output, out), transport.append(changelog, changed)])
    flushing = written.then(() => transport.append(positions, at))
    ;[out, reached] = [[], new Map()]
  }
  let due = performance.now() + COMMIT_MS
  for await (const batch of transport.read(input, { from: 'earliest', to: end })) {
    for (const message of batch) {
      const [user, minute] = keyOf(message)
      const key = stateKey('counts', bytes(`${user}|${minute}`))
      const name = key.toString('latin1')
      const { copy, changes } = states[message.position.partition] as (typeof states)[number]
      const before = changes.get(name) ?? copy.get(key)
      const count = (before ? Number(text(before)) : 0) + 1
      changes.set(name, bytes(String(count)))
      out.push(emitted(message, user, minute, count))
    }
    const last = batch.at(-1)?.position
    if (last) reached.set(last.partition, last.at)
    pass(batch.length)
    if (performance.now() < due) continue
    await flush()
    due = performance.now() + COMMIT_MS
  }
  await flush()
  await flushing
  const figures = { 'events/s': rate(), 'CPU µs/event': cpu() }
  await local.close()
  await verify(transport, output)
  return figures
}

const part = (name: string) => fileURLToPath(new URL(`kafka-streams/${name}`, import.meta.url))
const streams = () => fetched('kafka-streams', console.error, part('pom.xml'))

/** Beside the jars, by the compiler among them. */
async function compile(): Promise<void> {
  const jars = await streams()
  const named = (await readdir(jars)).filter(name => name.endsWith('.jar')).map(name => join(jars, name))
  const compiler = ['-cp', join(jars, '*'), 'org.eclipse.jdt.internal.compiler.batch.Main', '-17', '-proc:none']
  const args = [...compiler, '-cp', named.join(delimiter), '-d', jars, part('CountPerMinute.java')]
  const { status, stderr, stdout } = spawnSync(java().binary, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`CountPerMinute.java does not compile:\n${stdout}${stderr}`)
}

async function kafkaStreams(): Promise<Figures> {
  await using transport = await openKafka()
  const output = await freshTopic(transport, 'counts')
  const jars = await streams()
  const state = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const classPath = [jars, join(jars, '*')].join(delimiter)
  const args = [address(), input.name, output.name, state, EVENTS, WARM, 'exactly_once_v2'].map(String)
  const child = spawn(
    java().binary,
    [
      '-Xms512m',
      '-Xmx512m',
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
      '-cp',
      classPath,
      'CountPerMinute',
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let printed = ''
  for await (const chunk of child.stdout) printed += chunk
  await rm(state, { recursive: true, force: true })
  await verify(transport, output)
  return JSON.parse(printed)
}

/** What each contender has to have written: one count for each event, and in the end each key's number of events. */
async function verify(transport: Transport, output: Topic): Promise<void> {
  const expected = new Map<string, number>()
  for (const event of events()) {
    const key = keyOf(event).join('|')
    expected.set(key, (expected.get(key) ?? 0) + 1)
  }
  const { end } = await transport.admin.describe(output)
  const last = new Map<string, number>()
  let outputs = 0
  for await (const batch of transport.read(output, { from: 'earliest', to: end }))
    for (const { value } of batch) {
      const { user, minute, count } = JSON.parse(text(value as Uint8Array))
      const key = `${user}|${minute}`
      check(`the next count of ${key}`, count, (last.get(key) ?? 0) + 1)
      last.set(key, count)
      outputs++
    }
  check('counts in the output', outputs, EVENTS)
  check('keys in the output', last.size, expected.size)
  for (const [key, count] of expected) check(`the count of ${key}`, last.get(key) ?? 0, count)
}

await onKafka(
  {
    file: fileURLToPath(import.meta.url),
    title: `Exactly-once on Kafka: parse, count per key and minute, emit; ${EVENTS.toLocaleString('en-US')} events, ${KEYS} keys, commit every ${COMMIT_MS} ms, client and broker on a core each`,
    contenders: {
      'Kafka Streams 4.1': kafkaStreams,
      'weft without exactly-once': without,
      'weft exactly-once': exactlyOnce,
    },
    compare: ['events/s'],
  },
  prepare,
)
