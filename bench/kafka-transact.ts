/**
 * Exactly-once read-process-write on Kafka: parse JSON, count per key and minute in state with a changelog, emit each
 * count, a transaction every 100 ms. Beside it the same in Kafka Streams with exactly_once_v2 (kafka-streams/), and the
 * same work with the same records written and without exactly-once: no transaction, no positions, no local state.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetched, java } from '@weft/local/servers'
import { bytes, type Message, type Topic, type Transport, text } from '@weft/transport'
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
  const figures = { 'events/s': rate() }
  await verify(transport, output)
  return figures
}

/** Writes the same outputs and the same changes of state, gathered over the same time. */
async function without(): Promise<Figures> {
  await using transport = await openKafka()
  const [output, changelog] = [await freshTopic(transport, 'counts'), await freshTopic(transport, 'changes')]
  const { end } = await transport.admin.describe(input)
  const { pass, rate } = passing()
  const counts = new Map<string, number>()
  let [out, changed, flushing] = [[] as Message[], new Set<string>(), Promise.resolve<unknown>(undefined)]
  const flush = async () => {
    await flushing
    const changes = [...changed].map(key => ({ key: bytes(key), value: bytes(String(counts.get(key))), time: start }))
    flushing = Promise.all([transport.append(output, out), transport.append(changelog, changes)])
    ;[out, changed] = [[], new Set()]
  }
  let due = performance.now() + COMMIT_MS
  for await (const batch of transport.read(input, { from: 'earliest', to: end })) {
    for (const message of batch) {
      const [user, minute] = keyOf(message)
      const key = `${user}|${minute}`
      const count = (counts.get(key) ?? 0) + 1
      counts.set(key, count)
      changed.add(key)
      out.push(emitted(message, user, minute, count))
    }
    pass(batch.length)
    if (performance.now() < due) continue
    await flush()
    due = performance.now() + COMMIT_MS
  }
  await flush()
  await flushing
  const figures = { 'events/s': rate() }
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
