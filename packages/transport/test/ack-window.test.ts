import { expect, test } from 'vitest'
import { AckWindow } from '../src/ack-window.ts'

test('the low-water mark moves over what is settled without a gap, whatever the order', () => {
  const window = new AckWindow(-1)
  const settle = [0, 1, 2, 3].map(place => window.add(place))
  const moves = [2, 1, 0, 3].map(i => [settle[i]?.(), window.low])
  expect(moves).toEqual([
    [false, -1],
    [false, -1],
    [true, 2],
    [true, 3],
  ])
  expect(window.size).toBe(0)
})

test('what was settled long ago is forgotten, and one that is held back holds the mark', () => {
  const window = new AckWindow(-1)
  for (let place = 0; place < 5000; place++) window.add(place)()
  expect([window.low, window.size]).toEqual([4999, 0])
  const held = window.add(5000)
  for (let place = 5001; place < 8000; place++) window.add(place)()
  expect([window.low, window.size]).toEqual([4999, 3000])
  held()
  expect([window.low, window.size]).toEqual([7999, 0])
})
