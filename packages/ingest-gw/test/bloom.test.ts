import { expect, test } from 'vitest'
import { Bloom } from '../src/bloom.ts'

const ids = (count: number, name: string) => Array.from({ length: count }, (_, n) => `shop/${name}-${n}`)

test('what was added within the window is always found, however much it grew', () => {
  const bloom = new Bloom(1000, { capacity: 1000 })
  const added = ids(40_000, 'a')
  for (const id of added) bloom.add(id, 5000)
  expect(added.every(id => bloom.mayHave(id))).toBe(true)
})

test('of what was never added a few in a hundred at most are taken for known', () => {
  const bloom = new Bloom(1000, { capacity: 1000 })
  for (const id of ids(40_000, 'a')) bloom.add(id, 5000)
  const taken = ids(20_000, 'b').filter(id => bloom.mayHave(id)).length
  expect(taken).toBeLessThan(2000)
})

test('what is older than the window is forgotten when there is more to remember', () => {
  const bloom = new Bloom(1000, { capacity: 1000 })
  for (const id of ids(1700, 'old')) bloom.add(id, 5000)
  for (const id of ids(4000, 'new')) bloom.add(id, 7000)
  expect(ids(1700, 'old').filter(id => bloom.mayHave(id)).length).toBeLessThan(200)
  expect(ids(4000, 'new').every(id => bloom.mayHave(id))).toBe(true)
})

test('beyond its bound in memory it loses nothing, but tells less', () => {
  const bloom = new Bloom(1000, { capacity: 1000, maxBytes: 1 })
  const added = ids(20_000, 'a')
  for (const id of added) bloom.add(id, 5000)
  expect(added.every(id => bloom.mayHave(id))).toBe(true)
})
