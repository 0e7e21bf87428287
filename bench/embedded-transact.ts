/**
 * Exactly-once read-process-write on the embedded transport: parse JSON, count per key and minute in keyed state, emit
 * the count. Beside it the same loop over the same bytes with nothing kept: what parsing and counting alone cost.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bytes, type Message, open, type Process, text } from '@weft/transport'
import { sideBySide } from './side-by-side.ts'

const EVENTS = 400_000
const KEYS = 1_000
const start = Date.UTC(2026, 0, 1)

function* events(): Iterable<Message> {
  for (let i = 0; i < EVENTS; i++) {
    const user = `user-${(i * 7919) % KEYS}`
    const at = start + i
    const body = { event_id: `e${i}`, user, type: 'page_view', at, page: '/products/42', price: 19.9 }
    yield { key: bytes(user), value: bytes(JSON.stringify(body)), time: at }
  }
}

const counted = (value: Uint8Array): [key: string, minute: number] => {
  const event = JSON.parse(text(value))
  return [event.user, Math.floor(event.at / 60_000)]
}

async function parseAndCount() {
  const input = [...events()]
  const counts = new Map<string, number>()
  let emitted = 0
  const began = performance.now()
  for (const { value } of input) {
    const [user, minute] = counted(value as Uint8Array)
    const key = `${user}|${minute}`
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    emitted += bytes(JSON.stringify({ user, minute, count })).length
  }
  return { 'events/s': (EVENTS * 1000) / (performance.now() - began), bytes: emitted }
}

async function weft() {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  await using transport = await open(`embedded:${directory}`)
  const [input, output] = [{ name: 'events' }, { name: 'counts' }]
  await transport.admin.ensure([input, output].map(topic => ({ topic, partitions: 12 })))
  let batch: Message[] = []
  for (const event of events()) if (batch.push(event) === 5_000) await transport.append(input, batch.splice(0))
  if (batch.length) await transport.append(input, batch)
  batch = []

  let seen = 0
  const all = Promise.withResolvers<void>()
  const process: Process = (messages, transaction) => {
    const out = messages.map(message => {
      const [user, minute] = counted(message.value as Uint8Array)
      const key = bytes(`${user}|${minute}`)
      const before = transaction.get('counts', key)
      const count = (before ? Number(text(before)) : 0) + 1
      transaction.set('counts', key, bytes(String(count)))
      return {
        key: message.key as Uint8Array,
        value: bytes(JSON.stringify({ user, minute, count })),
        time: message.time,
      }
    })
    transaction.append(output, out)
    seen += messages.length
    if (seen === EVENTS) all.resolve()
  }
  const began = performance.now()
  const running = await transport.transact([input], { group: 'counter' }, process)
  await all.promise
  await running[Symbol.asyncDispose]()
  const figures = { 'events/s': (EVENTS * 1000) / (performance.now() - began) }
  await rm(directory, { recursive: true })
  return figures
}

await sideBySide({
  file: fileURLToPath(import.meta.url),
  title: `transact: parse, count per key and minute, emit; ${EVENTS.toLocaleString('en-US')} events, ${KEYS} keys, one core`,
  contenders: { 'parse and count only': parseAndCount, 'weft embedded': weft },
  compare: ['events/s'],
  cores: '0',
})
