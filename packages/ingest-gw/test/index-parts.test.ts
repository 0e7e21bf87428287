import { join } from 'node:path'
import { expect, test } from 'vitest'
import { OwnPlaces } from '../src/own-places.ts'
import { SharedLmdb } from '../src/shared-lmdb.ts'
import { sweep } from '../src/sweep.ts'
import { makeDirectory } from './fixture.ts'

const at = (place: number) => ({ partition: 0, at: String(place) })
const places = () => new OwnPlaces((a, b) => Number(a.at) - Number(b.at))

test('places are given back once each, in the order of the log, whatever of others lies between', () => {
  const own = places()
  for (const place of [1, 2, 5]) own.add(at(place), `id-${place}`)
  expect([0, 1, 2, 3, 4].map(place => own.take(at(place)))).toEqual([undefined, 'id-1', 'id-2', undefined, undefined])
  own.add(at(7), 'id-7')
  expect([5, 5, 6, 7, 8].map(place => own.take(at(place)))).toEqual(['id-5', undefined, undefined, 'id-7', undefined])
})

test('places that were told in another order are put in the order of the log', () => {
  const own = places()
  for (const place of [4, 9, 2, 6, 1]) own.add(at(place), `id-${place}`)
  expect([1, 2, 4, 6, 9].map(place => own.take(at(place)))).toEqual(['id-1', 'id-2', 'id-4', 'id-6', 'id-9'])
})

test('many thousands of places pass through', () => {
  const own = places()
  const count = 25_000
  for (let place = 0; place < count; place++) own.add(at(place), `id-${place}`)
  for (let place = 0; place < count; place++) expect(own.take(at(place))).toBe(`id-${place}`)
})

test('what has expired is swept away, the rest stays', async () => {
  await using made = await makeDirectory()
  await using lmdb = await SharedLmdb.open(join(String(made), 'db'), ['times'])
  const database = lmdb.database<number>('times')
  await lmdb.write(() => Promise.all(Array.from({ length: 300 }, (_, n) => database.put(`k${n}`, n % 3))))
  using _sweep = sweep(lmdb, database, time => time === 0)
  await expect.poll(() => (database.getStats() as { entryCount: number }).entryCount, { timeout: 10_000 }).toBe(200)
  expect([database.get('k0'), database.get('k1')]).toEqual([undefined, 1])
})

test('what is written in any turn behind another write is written, also when nothing comes after it', async () => {
  await using made = await makeDirectory()
  await using lmdb = await SharedLmdb.open(join(String(made), 'db'), ['turns'])
  const database = lmdb.database<number>('turns')
  for (let turns = 0; turns < 50; turns++) {
    const first = lmdb.put(database, 'first', turns)
    await first
    for (let turn = 0; turn < turns % 10; turn++) await undefined
    await lmdb.put(database, 'second', turns)
  }
  expect([database.get('first'), database.get('second')]).toEqual([49, 49])
})
