import { expect, test } from 'vitest'
import { compile } from '../src/avro.ts'

const nulls = compile({ type: 'array', items: { type: 'array', items: 'null' } })

test('items that take no byte come back, as many as there were', () => {
  const value = [[null, null, null], [], [null]]
  expect(nulls.fromBuffer(nulls.toBuffer(value))).toEqual(value)
})

test('a count of such items that would spin for hours is refused at once', () => {
  const billions = Buffer.from([2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0])
  expect(() => nulls.fromBuffer(billions)).toThrow('too many empty items')
})

test('a count beyond what the bytes hold is refused at once', () => {
  const strings = compile({ type: 'array', items: 'string' })
  expect(() => strings.fromBuffer(Buffer.from([0x80, 0x80, 0x80, 0x80, 0x20, 2, 97]))).toThrow('truncated buffer')
})
