import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KnownIds } from '../src/known-ids.ts'
import { SharedLmdb } from '../src/shared-lmdb.ts'
import { makeDirectory } from './fixture.ts'

const HOUR = 3_600_000

test('ids of before the start are known, those of the log by adding them, and those that wait elsewhere by their mark', async () => {
  await using made = await makeDirectory()
  await using lmdb = await SharedLmdb.open(join(String(made), 'db'), ['ids', 'marks'])
  const ids = lmdb.database<number>('ids')
  const marks = lmdb.database<string>('marks')
  const before = Array.from({ length: 2500 }, (_, n) => `shop/before-${n}`)
  await lmdb.write(() => Promise.all(before.map(id => ids.put(id, 1))))
  let asked = 0
  const counting = (key: string) => {
    asked++
    return ids.get(key)
  }
  const counted = Object.create(ids, { get: { value: counting } })
  using known = new KnownIds(counted, () => marks.get('mark'), HOUR)

  // Until all was read once, lmdb is asked.
  expect([known.get('shop/before-7', 0), known.get('shop/new', 0), asked]).toEqual([1, undefined, 2])
  const answersItself = () => {
    asked = 0
    known.get('shop/new', 0)
    return asked === 0
  }
  await expect.poll(answersItself).toBe(true)
  expect(before.every(id => known.get(id, 0) === 1)).toBe(true)

  // Another process writes what this one will read from the log, and adds then.
  await lmdb.put(ids, 'shop/of-the-log', 2)
  known.add('shop/of-the-log')
  expect(known.get('shop/of-the-log', 0)).toBe(2)

  // Another process writes what is not in the log yet.
  await lmdb.put(marks, 'mark', 'changed')
  await lmdb.put(ids, 'shop/spooled', 3)
  expect(known.get('shop/spooled', 1000)).toBe(3)
})
