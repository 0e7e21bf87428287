import { loadCatalogue } from '@weft/schema'
import { HEADERS, header, headerOf, type Received } from '@weft/transport'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { drive, runTask, startTicker, validate } from '../src/index.ts'
import { isDue } from '../src/ticker.ts'
import { tickMessage, tickOf } from '../src/ticks.ts'
import { START, views } from './events.ts'
import { contents, RAW, temporaryStore } from './store.ts'

const catalogue = await loadCatalogue()

test('a tick is a valid value of its topic, known by its header', () => {
  for (const topic of ['events.raw.v1', 'events.enriched.v1', 'features.stream.v1', 'signals.scores.v1'] as const) {
    const message = tickMessage(catalogue, topic, { tick: START, headers: [header('weft-rules', '[]')] })
    expect(catalogue.codec(topic).decode(message)).toMatchObject({ store_id: '', received_at: START })
    expect(headerOf(message, HEADERS.tick)).toBe(String(START))
    expect(headerOf(message, 'weft-rules')).toBe('[]')
  }
})

const received = (tick: string): Received => ({
  topic: RAW,
  position: { partition: 0, at: '0' },
  value: null,
  time: START,
  appendedAt: START,
  headers: [header(HEADERS.tick, tick)],
})

test.each(['soon', '', '-1', '1.5', String(START + 300_001), '9e99'])('a tick that tells %j moves no time', told => {
  expect(tickOf(received(told)) || null).toBe(null)
})

test('a record is no tick', () => {
  expect(tickOf({ ...received('1'), headers: [] })).toBeUndefined()
})

test('a record that was received long after the log took it moves no time', async () => {
  const stage = drive(validate())
  await stage.feed(views('product', 0, { received_at: START + 365 * 86_400_000 }), views('product', 5))
  expect(stage.written('events.validated.v1')).toMatchObject([{ validated_at: START + 5 }])
})

test('ticks come at each interval while a partition is in use, and the more seldom the longer it is silent', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 0, max: 1e9 }), (everyMs, silence) => {
      const at = START + silence
      const due = (last: number) => isDue({ silentSince: START, last }, at, everyMs)
      expect(due(at - everyMs)).toBe(silence <= 60 * everyMs)
      expect(due(at - everyMs + 1)).toBe(false)
      expect(due(at - Math.max(everyMs, Math.ceil(silence / 60)))).toBe(true)
    }),
  )
})

test('whoever reads a partition ticks it, and stops when it stops', async () => {
  await using store = await temporaryStore(catalogue)
  await using reader = await runTask(store.transport, catalogue, { name: 'ingest', stages: [validate()] })
  const errors: unknown[] = []
  {
    await using _ = startTicker({ ...store, catalogue, reader, everyMs: 20, onError: error => errors.push(error) })
    for (;;) {
      const ticked = await contents(store.transport, 'events.validated.v1')
      if (new Set(ticked.map(({ position }) => position.partition)).size === 12) break
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }
  const ticks = await contents(store.transport, RAW.name)
  expect(ticks.every(message => tickOf(message))).toBe(true)
  for (const partition of new Set(ticks.map(({ position }) => position.partition))) {
    const times = ticks.filter(({ position }) => position.partition === partition).map(({ time }) => time)
    expect(times).toEqual([...new Set(times)].toSorted((a, b) => a - b))
  }
  expect(errors).toEqual([])
})
