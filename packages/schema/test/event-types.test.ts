import { expect, test } from 'vitest'
import { checkEvent, eventTypes, isEventType } from '../src/index.ts'

const RIGHT: readonly [type: string, payload: object][] = [
  ['session_start', { elapsed_ms: 0, visitor: 'new', local_date: '2024-02-29', special_day: 0.8, traffic_source: 2 }],
  ['session_start', { elapsed_ms: 0, visitor: 'other' }],
  ['page_view', { elapsed_ms: 1200, page: 'product', url: '/p/1', product_id: 'p1', colour: 'red' }],
  ['add_to_cart', { elapsed_ms: 1, product_id: 'p1', quantity: 2, price: 9.99, currency: 'EUR' }],
  ['purchase', { elapsed_ms: 1 }],
  ['session_end', { elapsed_ms: 31_000 }],
]

test.each(RIGHT)('a %s of the right shape has no fault: %o', (type, payload) => {
  expect(checkEvent(type, payload)).toEqual([])
})

const WRONG: readonly [type: string, payload: unknown, path: string, expected: RegExp][] = [
  ['page_view', { page: 'product' }, '/payload/elapsed_ms', /an integer from 0/],
  ['page_view', { elapsed_ms: 1.5, page: 'product' }, '/payload/elapsed_ms', /an integer/],
  ['page_view', { elapsed_ms: '1', page: 'product' }, '/payload/elapsed_ms', /an integer/],
  ['page_view', { elapsed_ms: -1, page: 'product' }, '/payload/elapsed_ms', /from 0/],
  [
    'page_view',
    { elapsed_ms: 1, page: 'products' },
    '/payload/page',
    /one of "administrative", "informational", "product"/,
  ],
  ['session_start', { elapsed_ms: 1 }, '/payload/visitor', /one of "new", "returning", "other"/],
  ['session_start', { elapsed_ms: 1, visitor: 'new', local_date: '2023-02-29' }, '/payload/local_date', /YYYY-MM-DD/],
  ['session_start', { elapsed_ms: 1, visitor: 'new', special_day: 2 }, '/payload/special_day', /a number from 0 to 1/],
  ['add_to_cart', { elapsed_ms: 1 }, '/payload/product_id', /a string of 1 to 256 characters/],
  ['add_to_cart', { elapsed_ms: 1, product_id: 'p', quantity: 0 }, '/payload/quantity', /from 1/],
  ['purchase', { elapsed_ms: 1, currency: 'euro' }, '/payload/currency', /ISO 4217/],
  ['session_end', null, '/payload', /an object/],
  ['session_end', [], '/payload', /an object/],
  ['session_end', undefined, '/payload', /an object/],
]

test.each(WRONG)('a %s with payload %o is faulted where it is wrong', (type, payload, path, expected) => {
  const faults = checkEvent(type, payload)
  expect(faults.map(fault => fault.path)).toEqual([path])
  expect(faults[0]?.expected).toMatch(expected)
})

test('every fault of an event is told at once', () => {
  const faults = checkEvent('add_to_cart', { elapsed_ms: -1, quantity: 'x', price: -1 })
  expect(faults.map(({ path }) => path).toSorted()).toEqual(
    ['/payload/elapsed_ms', '/payload/price', '/payload/product_id', '/payload/quantity'].toSorted(),
  )
})

test('an unknown type is answered with the one that was meant, and logged ticks cannot come from outside', () => {
  expect(checkEvent('page-view', { elapsed_ms: 1 })).toMatchObject([
    { path: '/type', problem: expect.stringContaining('"page_view"') },
  ])
  expect(checkEvent('weft.tick', {})).toMatchObject([{ path: '/type' }])
  expect(isEventType('weft.tick')).toBe(false)
  expect(isEventType('constructor')).toBe(false)
  expect(Object.keys(eventTypes).every(isEventType)).toBe(true)
})

test('a fault never repeats a long value', () => {
  const [fault] = checkEvent('page_view', { elapsed_ms: 1, page: 'x'.repeat(5000) })
  expect(fault?.problem).toBe('is a string of 5000 characters')
})
