import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryState } from '../src/memory-state.ts'
import { StateSchedule } from '../src/schedule.ts'
import { StateStore } from '../src/state.ts'

const id = fc.constantFrom('', 'a', 'b', 'aa', '~', 'ü', '\uffee', '😀')
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

test('a schedule gives what is due in the order of times and ids, whatever is set, taken back and committed in between', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ set: fc.integer({ min: 0, max: 50 }), id, value: fc.option(fc.nat()) }) },
    { weight: 3, arbitrary: fc.record({ take: fc.integer({ min: 0, max: 60 }) }) },
    { weight: 2, arbitrary: fc.constant('commit' as const) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const state = new MemoryState()
      const model = new Map<string, { at: number; id: string; value: number }>()
      let schedule = new StateSchedule<number>(state, 's')
      for (const each of steps) {
        if (each === 'commit') {
          schedule.flush()
          schedule = new StateSchedule(state, 's', schedule.floor)
        } else if ('take' in each) {
          const due = [...model.values()].filter(({ at }) => at <= each.take)
          const [first] = due.sort((a, b) => a.at - b.at || byBytes(a.id, b.id))
          expect(schedule.take(each.take)).toEqual(first)
          if (first) model.delete(`${first.at} ${first.id}`)
        } else {
          const { set: at, id, value } = each
          schedule.set(at, id, value ?? undefined)
          if (value === null) model.delete(`${at} ${id}`)
          else model.set(`${at} ${id}`, { at, id, value })
          expect(schedule.get(at, id)).toBe(value ?? undefined)
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('a range of the state shows what was stored under what was changed since, in the order of the bytes', () => {
  const change = fc.record({ key: id, value: fc.option(fc.nat()), commit: fc.boolean() })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), id, id, (changes, from, to) => {
      const state = new MemoryState()
      const model = new Map<string, number>()
      let store = new StateStore<number>(state, 's')
      for (const { key, value, commit } of changes) {
        store.set(key, value ?? undefined)
        if (value === null) model.delete(key)
        else model.set(key, value)
        if (!commit) continue
        store.flush()
        store = new StateStore(state, 's')
      }
      const within = [...model].filter(([key]) => byBytes(key, from) >= 0 && byBytes(key, to) < 0)
      expect([...store.range(from, to)]).toEqual(within.sort(([a], [b]) => byBytes(a, b)))
    }),
    { numRuns: 500 },
  )
})

test('a value that is read twice is decoded once, and written back once however often it was changed', () => {
  const state = new MemoryState()
  const writes: string[] = []
  const store = new StateStore<{ n: number }>(
    {
      get: (name, key) => state.get(name, key),
      range: (name, from, to) => state.range(name, from, to),
      set(name, key, value) {
        writes.push(Buffer.from(key).toString())
        state.set(name, key, value)
      },
    },
    's',
  )
  for (let n = 0; n < 5; n++) store.set('a', { n: (store.get('a')?.n ?? 0) + 1 })
  expect(store.get('a')).toBe(store.get('a'))
  store.flush()
  store.flush()
  expect(writes).toEqual(['a'])
  expect(new StateStore<{ n: number }>(state, 's').get('a')).toEqual({ n: 5 })
})
