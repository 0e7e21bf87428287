import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compile } from '../src/avro.ts'
import { mismatches } from '../src/compatibility.ts'
import type { AvroRecord } from '../src/index.ts'
import { anyOf } from './arbitrary.ts'
import { field, record } from './folder.ts'

const schema = (...fields: object[]) => record([field('id', 'string'), ...fields]) as AvroRecord
const inner = (...fields: object[]) => record(fields, { name: 'Inner' })
const millis = { type: 'long', logicalType: 'timestamp-millis' }
const level = (symbols: string[], rest: object = {}) =>
  field('level', { type: 'enum', name: 'Level', symbols, ...rest })

type Case = readonly [change: string, before: AvroRecord, after: AvroRecord, backward: string, forward: string]

/** Each change, and what it breaks: rule and field, or nothing. */
const CHANGES: readonly Case[] = [
  ['nothing', schema(), schema(), '', ''],
  ['a field added with a default', schema(), schema(field('n', 'int', { default: 0 })), '', ''],
  ['a field added without a default', schema(), schema(field('n', 'int')), 'field-added-without-default n', ''],
  ['a field removed that had a default', schema(field('n', 'int', { default: 0 })), schema(), '', ''],
  ['a field removed that had none', schema(field('n', 'int')), schema(), '', 'field-removed-without-default n'],
  [
    'a field renamed',
    schema(field('n', 'int')),
    schema(field('m', 'int')),
    'field-added-without-default m',
    'field-removed-without-default n',
  ],
  [
    'a field renamed with an alias',
    schema(field('n', 'int')),
    schema(field('m', 'int', { aliases: ['n'] })),
    '',
    'field-removed-without-default n',
  ],
  ['int to long', schema(field('n', 'int')), schema(field('n', 'long')), '', 'type-changed n'],
  ['long to int', schema(field('n', 'long')), schema(field('n', 'int')), 'type-changed n', ''],
  ['float to double', schema(field('n', 'float')), schema(field('n', 'double')), '', 'type-changed n'],
  ['string to bytes', schema(field('n', 'string')), schema(field('n', 'bytes')), '', ''],
  ['string to int', schema(field('n', 'string')), schema(field('n', 'int')), 'type-changed n', 'type-changed n'],
  ['a field made nullable', schema(field('n', 'int')), schema(field('n', ['null', 'int'])), '', 'union-branch n'],
  [
    'a nullable field made required',
    schema(field('n', ['null', 'int'])),
    schema(field('n', 'int')),
    'union-branch n',
    '',
  ],
  [
    'a branch added',
    schema(field('n', ['null', 'int'])),
    schema(field('n', ['null', 'int', 'string'])),
    '',
    'union-branch n',
  ],
  [
    'a branch removed',
    schema(field('n', ['null', 'int', 'string'])),
    schema(field('n', ['null', 'int'])),
    'union-branch n',
    '',
  ],
  [
    'a branch promoted',
    schema(field('n', ['null', 'int'])),
    schema(field('n', ['null', 'long'])),
    '',
    'union-branch n',
  ],
  ['a symbol added', schema(level(['a'])), schema(level(['a', 'b'])), '', 'enum-symbols level'],
  ['a symbol removed', schema(level(['a', 'b'])), schema(level(['a'])), 'enum-symbols level', ''],
  [
    'a symbol added to an enum with a default',
    schema(level(['a'], { default: 'a' })),
    schema(level(['a', 'b'], { default: 'a' })),
    '',
    '',
  ],
  [
    'a symbol swapped while only the new enum has a default',
    schema(level(['a', 'b'])),
    schema(level(['a', 'c'], { default: 'a' })),
    '',
    'enum-symbols level',
  ],
  [
    'millis to plain long',
    schema(field('at', millis)),
    schema(field('at', 'long')),
    'logical-type-changed at',
    'logical-type-changed at',
  ],
  [
    'millis to micros',
    schema(field('at', ['null', millis])),
    schema(field('at', ['null', { type: 'long', logicalType: 'timestamp-micros' }])),
    'logical-type-changed at',
    'logical-type-changed at',
  ],
  [
    'a field added in a nested record',
    schema(field('in', inner(field('a', 'int')))),
    schema(field('in', inner(field('a', 'int'), field('b', 'int')))),
    'field-added-without-default in.b',
    '',
  ],
  [
    'a nested record behind null',
    schema(field('in', ['null', inner(field('a', 'int'))])),
    schema(field('in', ['null', inner(field('a', 'string'))])),
    'type-changed in.a',
    'type-changed in.a',
  ],
  [
    'the items of an array',
    schema(field('list', { type: 'array', items: inner(field('a', 'int')) })),
    schema(field('list', { type: 'array', items: inner(field('a', 'long')) })),
    '',
    'type-changed list[].a',
  ],
  [
    'the values of a map',
    schema(field('map', { type: 'map', values: 'double' })),
    schema(field('map', { type: 'map', values: 'int' })),
    'type-changed map{}',
    '',
  ],
  [
    'an array made a map',
    schema(field('x', { type: 'array', items: 'int' })),
    schema(field('x', { type: 'map', values: 'int' })),
    'type-changed x',
    'type-changed x',
  ],
  [
    'a fixed grown',
    schema(field('x', { type: 'fixed', name: 'Hash', size: 16 })),
    schema(field('x', { type: 'fixed', name: 'Hash', size: 32 })),
    'fixed-size x',
    'fixed-size x',
  ],
  ['the record renamed', schema(), { ...schema(), name: 'Other' }, 'name-changed ', 'name-changed '],
  [
    'the record renamed with an alias',
    schema(),
    { ...schema(), name: 'Other', aliases: ['Thing'] } as AvroRecord,
    '',
    'name-changed ',
  ],
  ['only docs', schema(), { ...schema(), doc: 'Another.' } as AvroRecord, '', ''],
]

test.each(CHANGES)('%s: breaks exactly the readers that it breaks', (_, before, after, backward, forward) => {
  const broken = (direction: 'BACKWARD' | 'FORWARD') =>
    mismatches(after, before, direction).map(({ rule, field }) => `${rule} ${field}`)
  expect(broken('BACKWARD')).toEqual(backward === '' ? [] : [backward])
  expect(broken('FORWARD')).toEqual(forward === '' ? [] : [forward])
})

test('a reason tells what was changed, whom it breaks and what to do instead', () => {
  const [added] = mismatches(schema(field('n', 'int')), schema(), 'BACKWARD')
  expect(added?.reason).toBe(
    'was added without a default, so new readers cannot read records of that version; give it one, or an alias if it was renamed',
  )
  const [renamed] = mismatches(schema(field('m', 'int', { aliases: ['n'] })), schema(field('n', 'int')), 'FORWARD')
  expect(renamed?.reason).toMatch(/^was renamed to m, and old readers do not know that alias/)
  const [changed] = mismatches(schema(field('n', 'long')), schema(field('n', 'int')), 'FORWARD')
  expect(changed?.reason).toMatch(/^was changed from int to long, so readers of that version cannot read new records/)
})

test('a recursive schema is compared to its end', () => {
  const tree = (leaf: string) =>
    record([field('leaf', leaf), field('children', { type: 'array', items: 'dev.weft.Thing' })]) as AvroRecord
  expect(mismatches(tree('long'), tree('int'), 'BACKWARD')).toEqual([])
  expect(mismatches(tree('int'), tree('long'), 'BACKWARD')).toMatchObject([{ field: 'leaf', rule: 'type-changed' }])
})

const TYPES = fc.letrec(tie => ({
  leaf: fc.constantFrom('int', 'long', 'float', 'double', 'string', 'bytes', 'boolean', 'null'),
  level: fc.subarray(['a', 'b', 'c'], { minLength: 1 }).chain(symbols =>
    fc.option(fc.constantFrom(...symbols)).map(fallback => ({
      type: 'enum',
      name: `Level${symbols.length}`,
      symbols,
      ...(fallback === null ? {} : { default: fallback }),
    })),
  ),
  type: fc.oneof(
    { maxDepth: 2 },
    { weight: 4, arbitrary: tie('leaf') },
    { weight: 2, arbitrary: fc.constantFrom('int', 'string').map(branch => ['null', branch]) },
    fc.constantFrom(['int', 'string'], ['null', 'double', 'string'], ['bytes', 'boolean']),
    tie('type').map(items => ({ type: 'array', items })),
    tie('type').map(values => ({ type: 'map', values })),
  ),
}))

const anyField = fc
  .tuple(fc.constantFrom('a', 'b', 'c'), fc.oneof(TYPES.type, TYPES.leaf), fc.boolean())
  .map(([name, type, nullable]) =>
    nullable && typeof type === 'string' && type !== 'null'
      ? field(name, ['null', type], { default: null })
      : field(name, type, name === 'c' && type === 'int' ? { default: 7 } : {}),
  )
const anySchema = fc
  .tuple(fc.uniqueArray(anyField, { maxLength: 3, selector: ({ name }) => name }), fc.option(TYPES.level))
  .map(([fields, level]) => schema(...fields, ...(level === null ? [] : [field('level', level)])))

test('what is called readable is read, and what is not is refused by the codec too', () => {
  let readable = 0
  fc.assert(
    fc.property(anySchema, anySchema, (current, released) => {
      const [reader, writer] = [compile(current), compile(released)]
      const resolver = attempt(() => reader.createResolver(writer))
      expect(mismatches(current, released, 'BACKWARD').length === 0).toBe(resolver !== undefined)
      if (resolver === undefined) return
      readable++
      const [value] = fc.sample(anyOf(released), 1)
      expect(reader.isValid(reader.fromBuffer(writer.toBuffer(value), resolver))).toBe(true)
    }),
    { numRuns: 2000 },
  )
  expect(readable).toBeGreaterThan(50)
})

function attempt<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch {
    return undefined
  }
}
