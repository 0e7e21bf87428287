import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CursorError, CursorText, decodeCursor, encodeCursor } from '../src/cursor.ts'

const anyText = fc.string({ unit: 'binary', maxLength: 20 })

test('a cursor gives back its places, whatever characters positions and clusters are made of', () => {
  fc.assert(
    fc.property(anyText, fc.array(anyText, { minLength: 1, maxLength: 13 }), (cluster, vector) => {
      expect(decodeCursor(encodeCursor(cluster, vector), cluster, vector.length)).toEqual(vector)
    }),
  )
})

test('no cursor holds CR, LF, NUL, a blank or anything that a URL or a header would change', () => {
  fc.assert(
    fc.property(anyText, fc.array(anyText, { minLength: 1, maxLength: 5 }), (cluster, vector) => {
      const text = encodeCursor(cluster, vector)
      expect(text).toMatch(/^[\w.:,~-]+$/)
      expect(new URL(`http://h/?cursor=${text}`).searchParams.get('cursor')).toBe(text)
    }),
  )
})

test('a changed place is in the text and nothing else is', () => {
  const text = new CursorText('main', ['1', '2', '3'])
  expect(`${text}`).toBe('c1.main.0:1,1:2,2:3')
  text.set(1, '20\r\nid: 7')
  expect(`${text}`).toBe('c1.main.0:1,1:20~0d~0aid~3a~207,2:3')
})

test('a partition that is not named is a hole', () => {
  expect(decodeCursor('c1.main.1:5', 'main', 3)).toEqual([undefined, '5', undefined])
  expect(decodeCursor('c1.main.', 'main', 2)).toEqual([undefined, undefined])
})

test.each([
  ['', /not a cursor/],
  ['17', /not a cursor/],
  ['c2.main.0:1', /not a cursor/],
  ['c1.main', /not a cursor/],
  ['c1.main.0:1\r\ndata: x', /not a cursor/],
  ['c1.main.0:1\n', /not a cursor/],
  ['c1.main.0', /not <partition>:<position>/],
  ['c1.main.00:1', /not <partition>:<position>/],
  ['c1.main.-1:1', /not <partition>:<position>/],
  ['c1.main.9:1', /partition 9 of 2/],
  ['c1.main.0:1,0:2', /partition 0 twice/],
  ['c1.main.0:~zz', /two hex digits/],
  ['c1.main.0:~ff', /not UTF-8/],
  ['c1.other.0:1', /another cluster/],
  [`c1.main.0:${'1'.repeat(20_000)}`, /at most 16384/],
])('%j is refused with the reason', (text, reason) => {
  expect(() => decodeCursor(text, 'main', 2)).toThrow(CursorError)
  expect(() => decodeCursor(text, 'main', 2)).toThrow(reason)
})

test('no text whatever makes decoding fail in another way', () => {
  const near = fc.string({ unit: fc.constantFrom(...'c1.main0:,~2e\r\n%'), maxLength: 40 })
  fc.assert(
    fc.property(
      fc.oneof(
        anyText,
        near,
        near.map(text => `c1.main.${text}`),
      ),
      text => {
        try {
          decodeCursor(text, 'main', 4)
        } catch (error) {
          expect(error).toBeInstanceOf(CursorError)
        }
      },
    ),
    { numRuns: 2000 },
  )
})
