import type { Score } from '@weft/schema'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Context, drive, hopping, SessionWindows, stage, tumbling, Windowed } from '../src/index.ts'

const GRACE = 50
const scored = (sent_at: number, clock: number, user_id = 'u'): Score => ({
  score_id: `${sent_at}-${clock}`,
  store_id: 'aurora',
  user_id,
  session_id: null,
  source_event_id: `${sent_at}`,
  event_type: 'page_view',
  model_id: 'm',
  model_version: '1',
  score: 0.5,
  sent_at,
  received_at: clock,
  scored_at: clock,
})

/** A stage that counts records in windows and keeps what it closed and refused. */
function counting(assign: ReturnType<typeof tumbling>) {
  const closed: string[] = []
  const late: number[] = []
  const windows = new Windowed<{ n: number }>({ name: 'w', assign, graceMs: GRACE, create: () => ({ n: 0 }) })
  const add = (time: number, key: string, context: Context) => {
    const missed = windows.add(context, key, time, tally => {
      tally.n++
    })
    if (missed.length > 0) late.push(time)
  }
  const counts = stage<'signals.scores.v1', 'alerts.v1'>({
    name: 'counts',
    reads: ['signals.scores.v1'],
    writes: ['alerts.v1'],
    clock: score => score.received_at,
    process: (record, context) => add(record.value.sent_at, record.key, context),
    due(due) {
      const window = windows.closed(due)
      if (window) closed.push(`${window.key} ${window.start}-${window.end} ${window.aggregate.n}`)
    },
  })
  return { driven: drive(counts), closed, late }
}

function sessions(gapMs: number) {
  const closed: string[] = []
  const late: number[] = []
  const windows = new SessionWindows<{ n: number }>({
    name: 's',
    gapMs,
    graceMs: GRACE,
    create: () => ({ n: 0 }),
    merge: (a, b) => ({ n: a.n + b.n }),
  })
  const counts = stage<'signals.scores.v1', 'alerts.v1'>({
    name: 'counts',
    reads: ['signals.scores.v1'],
    writes: ['alerts.v1'],
    clock: score => score.received_at,
    process(record, context) {
      const taken = windows.add(context, record.key, record.value.sent_at, tally => {
        tally.n++
      })
      if (!taken) late.push(record.value.sent_at)
    },
    due(due, context) {
      for (const { key, start, end, aggregate } of windows.closed(context, due) ?? []) {
        closed.push(`${key} ${start}-${end} ${aggregate.n}`)
      }
    },
  })
  return { driven: drive(counts), closed, late }
}

test('a tumbling window closes when the clock reaches its end and the grace period, also without another record', async () => {
  const { driven, closed } = counting(tumbling(100))
  await driven.feed(scored(10, 10), scored(99, 99), scored(100, 100))
  await driven.tick(149)
  expect(closed).toEqual([])
  await driven.tick(150)
  expect(closed).toEqual(['aurora:u 0-100 2'])
})

test('a record within the grace period is counted, one after it is late', async () => {
  const { driven, closed, late } = counting(tumbling(100))
  await driven.feed(scored(10, 10), scored(50, 149), scored(60, 150))
  expect(closed).toEqual(['aurora:u 0-100 2'])
  expect(late).toEqual([60])
})

test('hopping windows each count a record that lies in several of them', async () => {
  const { driven, closed } = counting(hopping(100, 50))
  await driven.feed(scored(120, 120))
  await driven.tick(1000)
  expect(closed).toEqual(['aurora:u 50-150 1', 'aurora:u 100-200 1'])
  expect(() => hopping(100, 101)).toThrow('cannot begin every')
})

test('a session window lasts as long as the gaps are short, and a record in between joins two', async () => {
  const { driven, closed, late } = sessions(100)
  await driven.feed(scored(0, 0), scored(140, 140))
  await driven.feed(scored(80, 149))
  await driven.feed(scored(400, 400), scored(30, 401))
  await driven.tick(2000)
  expect(closed).toEqual(['aurora:u 0-140 3', 'aurora:u 400-400 1'])
  expect(late).toEqual([30])
})

const records = fc.array(
  fc.record({ time: fc.integer({ min: 0, max: 2000 }), key: fc.constantFrom('a', 'b', 'ü', '😀') }),
  {
    maxLength: 60,
  },
)

/** Arrival in any order in which nobody is overtaken by more than the grace period. */
const arrivals = (list: readonly { time: number; key: string }[], delays: readonly number[]) =>
  list
    .map((each, n) => ({ ...each, arrives: each.time + ((delays[n % delays.length] ?? 0) % GRACE) }))
    .sort((a, b) => a.arrives - b.arrives)

const delays = fc.array(fc.nat(GRACE - 1), { minLength: 1, maxLength: 60 })
const cuts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 })

test.each([
  ['tumbling', 1, () => counting(tumbling(100))],
  ['hopping', 3, () => counting(hopping(120, 40))],
  ['session', 1, () => sessions(90)],
] as const)(
  '%s windows do not depend on the order of arrival within the grace period, on batches or on ticks',
  async (_, times, make) => {
    await fc.assert(
      fc.asyncProperty(records, delays, cuts, fc.array(fc.nat(2100)), async (list, late, sizes, ticks) => {
        const run = async (
          order: ReturnType<typeof arrivals>,
          batches: readonly number[],
          ticking: readonly number[],
        ) => {
          const { driven, closed, late } = make()
          let at = 0
          for (let n = 0; at < order.length; n++) {
            const batch = order.slice(at, at + (batches[n % batches.length] as number))
            await driven.feed(...batch.map(({ time, key, arrives }) => scored(time, arrives, key)))
            at += batch.length
            const now = batch.at(-1)?.arrives ?? 0
            for (const tick of ticking) if (tick <= now) await driven.tick(tick)
          }
          await driven.tick(10_000)
          return { closed, late, entries: driven.entries }
        }
        const inOrder = await run(arrivals(list, [0]), [1000], [])
        const shuffled = await run(arrivals(list, late), sizes, ticks)
        expect(shuffled.closed.toSorted()).toEqual(inOrder.closed.toSorted())
        expect(shuffled.late).toEqual([])
        expect(shuffled.entries).toBeLessThanOrEqual(1)
        const counted = inOrder.closed.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
        expect(counted).toBe(list.length * times)
      }),
      { numRuns: 150 },
    )
  },
)

test('the order of closing follows the log alone: however it is cut into batches, the same windows close in the same order', async () => {
  await fc.assert(
    fc.asyncProperty(records, delays, cuts, async (list, late, sizes) => {
      const order = arrivals(list, late)
      const run = async (batches: readonly number[]) => {
        const { driven, closed } = counting(tumbling(100))
        let at = 0
        for (let n = 0; at < order.length; n++) {
          const batch = order.slice(at, at + (batches[n % batches.length] as number))
          await driven.feed(...batch.map(({ time, key, arrives }) => scored(time, arrives, key)))
          at += batch.length
        }
        await driven.tick(10_000)
        return closed
      }
      expect(await run(sizes)).toEqual(await run([1]))
    }),
    { numRuns: 100 },
  )
})
