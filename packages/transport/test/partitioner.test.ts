import { expect, test } from 'vitest'
import { bytes } from '../src/message.ts'
import { murmur2, partitionOf } from '../src/partitioner.ts'

/** The vectors of Kafka's own test, UtilsTest.testMurmur2. */
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('murmur2 of "%s" is what Kafka has', (key, hash) => {
  expect(murmur2(bytes(key))).toBe(hash)
})

test('a key always finds the same partition, and a hash below zero finds one too', () => {
  expect(partitionOf(bytes('21'), 12)).toBe((-973932308 & 0x7fffffff) % 12)
  expect(partitionOf(bytes(''), 12)).toBeGreaterThanOrEqual(0)
})
