import { expect, test } from 'vitest'
import { checkSchemas, describeIncompatibility, loadCatalogue, releaseSchema, SchemaFaults } from '../src/index.ts'
import { field, oneTopic, record } from './folder.ts'

const thing = (...fields: object[]) => record([field('id', 'string'), ...fields])

/** The only topic's codec, whose type the generated map does not know. */
const codecOf = async (dir: string) => (await loadCatalogue(dir)).codec('things.v1' as never) as never as Untyped
interface Untyped {
  readonly schema: { readonly subject: string; readonly version: number }
  encode(value: object): Uint8Array
  decode(message: object): Record<string, unknown>
}

test('releases get ids and versions that only grow, and a release of the same schema is none', async () => {
  await using folder = await oneTopic(thing())
  expect((await loadCatalogue(folder.dir)).topics.get('things.v1')?.schema).toEqual({
    subject: 'things.v1-value',
    version: 1,
  })
  expect(await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')).toMatchObject({ id: 1, version: 1 })
  expect(await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')).toBeUndefined()
  await folder.write('things.v1.avsc', thing(field('n', 'int', { default: 0 })))
  expect((await loadCatalogue(folder.dir)).topics.get('things.v1')?.schema.version).toBe(2)
  expect(await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')).toMatchObject({ id: 2, version: 2 })
  const { registry } = await loadCatalogue(folder.dir)
  expect(registry.byId(2)).toMatchObject({ topic: 'things.v1', version: 2 })
  expect(registry.idOf({ subject: 'things.v1-value', version: 1 })).toBe(1)
  expect(registry.idOf({ subject: 'things.v1-value', version: 3 })).toBeUndefined()
  expect(JSON.parse(await folder.read('released/index.json'))).toHaveLength(2)
})

test('a change of docs alone is no new version', async () => {
  await using folder = await oneTopic(thing())
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  await folder.write('things.v1.avsc', { ...thing(), doc: 'Better words.' })
  expect((await loadCatalogue(folder.dir)).topics.get('things.v1')?.schema.version).toBe(1)
})

test('records of every released version are read as of the current schema', async () => {
  await using folder = await oneTopic(thing(field('n', 'int')), { compatibility: 'BACKWARD_TRANSITIVE' })
  const written = [(await codecOf(folder.dir)).encode({ id: 'a', n: 1 })]
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  await folder.write(
    'things.v1.avsc',
    thing(field('total', 'long', { aliases: ['n'] }), field('note', ['null', 'string'], { default: null })),
  )
  written.push((await codecOf(folder.dir)).encode({ id: 'b', total: 2, note: 'x' }))
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  await folder.write(
    'things.v1.avsc',
    thing(
      field('total', 'double', { aliases: ['n'] }),
      field('tags', { type: 'map', values: 'string' }, { default: {} }),
    ),
  )
  const codec = await codecOf(folder.dir)
  expect(codec.schema.version).toBe(3)
  const read = written.map((value, index) =>
    codec.decode({ value, schema: { subject: 'things.v1-value', version: index + 1 } }),
  )
  expect(read).toEqual([
    expect.objectContaining({ id: 'a', total: 1, tags: {} }),
    expect.objectContaining({ id: 'b', total: 2, tags: {} }),
  ])
  expect(Object.keys(read[1] ?? {})).toEqual(['id', 'total', 'tags'])
})

test('old readers read what a FORWARD change writes', async () => {
  await using folder = await oneTopic(thing(field('n', 'int', { default: 0 })), { compatibility: 'FORWARD' })
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  const old = (await loadCatalogue(folder.dir)).topics.get('things.v1')?.avro
  await folder.write('things.v1.avsc', thing(field('extra', 'string')))
  expect(checkSchemas(await loadCatalogue(folder.dir))).toEqual([])
  const value = (await codecOf(folder.dir)).encode({ id: 'a', extra: 'x' })
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  await folder.write('things.v1.avsc', old)
  const reader = await codecOf(folder.dir)
  expect(reader.schema.version).toBe(1)
  expect(reader.decode({ value, schema: { subject: 'things.v1-value', version: 2 } })).toEqual(
    expect.objectContaining({ id: 'a', n: 0 }),
  )
})

const BREAKING = thing(field('n', 'int'))

test.each([
  ['NONE', [], []],
  ['BACKWARD', ['BACKWARD added'], []],
  ['FORWARD', [], ['FORWARD removed']],
  ['FULL', ['BACKWARD added'], ['FORWARD removed']],
  ['FULL_TRANSITIVE', ['BACKWARD added'], ['FORWARD removed']],
])('%s is held to in its own directions', async (compatibility, whenAdded, whenRemoved) => {
  const removed = field('removed', 'int')
  await using folder = await oneTopic(thing(removed), { compatibility })
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  const broken = async (...fields: object[]) => {
    await folder.write('things.v1.avsc', thing(...fields))
    return checkSchemas(await loadCatalogue(folder.dir)).map(({ direction, field }) => `${direction} ${field}`)
  }
  expect(await broken(removed, field('added', 'int'))).toEqual(whenAdded)
  expect(await broken()).toEqual(whenRemoved)
})

test.each([
  ['BACKWARD', []],
  ['BACKWARD_TRANSITIVE', [1]],
])('%s compares with the releases that it should', async (compatibility, versions) => {
  await using folder = await oneTopic(thing(), { compatibility })
  for (const fields of [[], [field('n', 'int', { default: 0 })]]) {
    await folder.write('things.v1.avsc', thing(...fields))
    await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  }
  await folder.write('things.v1.avsc', thing(field('n', 'int')))
  const found = checkSchemas(await loadCatalogue(folder.dir))
  expect(found.flatMap(incompatibility => incompatibility.versions)).toEqual(versions)
})

test('a change that breaks its compatibility is not released, and named by topic, field and reason', async () => {
  await using folder = await oneTopic(thing())
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  await folder.write('things.v1.avsc', BREAKING)
  const catalogue = await loadCatalogue(folder.dir)
  const [found] = checkSchemas(catalogue)
  expect(found).toMatchObject({ topic: 'things.v1', field: 'n', rule: 'field-added-without-default', versions: [1] })
  expect(found && describeIncompatibility(found)).toMatch(
    /^things\.v1 n \(BACKWARD, version 1\): was added without a default/,
  )
  await expect(releaseSchema(catalogue, 'things.v1')).rejects.toThrow(/\/things\.v1\/n: was added without a default/)
  expect(JSON.parse(await folder.read('released/index.json'))).toHaveLength(1)
})

test('a topic that is not there cannot be released', async () => {
  await using folder = await oneTopic()
  await expect(releaseSchema(await loadCatalogue(folder.dir), 'other.v1')).rejects.toThrow(
    /not a topic of the catalogue/,
  )
})

test.each([
  [
    'was changed',
    { 'released/things.v1/1.avsc': thing(field('n', 'int')) },
    '/released/things.v1/1.avsc',
    /was changed after its release/,
  ],
  ['is not JSON', { 'released/things.v1/1.avsc': '{' }, '/released/things.v1/1.avsc', /is not JSON/],
  ['has an index that is no list', { 'released/index.json': '{}' }, '/released/index.json', /is not a list/],
  ['has an index that is not JSON', { 'released/index.json': '[' }, '/released/index.json', /is not JSON/],
  [
    'has an index entry that is none',
    { 'released/index.json': '[null]' },
    '/released/index.json/0',
    /is not a release/,
  ],
])('a registry that %s is refused', async (_, files: Record<string, unknown>, path, says) => {
  await using folder = await oneTopic(thing())
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  for (const [file, content] of Object.entries(files)) await folder.write(file, content)
  const error = await loadCatalogue(folder.dir).catch((thrown: SchemaFaults) => thrown)
  expect(error).toBeInstanceOf(SchemaFaults)
  expect((error as SchemaFaults).faults).toMatchObject([{ path, problem: expect.stringMatching(says) }])
})

test('ids that repeat, versions that jump and files that are gone are refused together', async () => {
  await using folder = await oneTopic(thing())
  await releaseSchema(await loadCatalogue(folder.dir), 'things.v1')
  const [first] = JSON.parse(await folder.read('released/index.json'))
  await folder.write('released/index.json', [first, { ...first, version: 3 }])
  const error = await loadCatalogue(folder.dir).catch((thrown: SchemaFaults) => thrown)
  expect((error as SchemaFaults).faults.map(({ path }) => path)).toEqual([
    '/released/index.json/1/version',
    '/released/index.json/1/id',
    '/released/things.v1/3.avsc',
  ])
})

test('the current schemas keep the compatibility that the catalogue declares', async () => {
  expect(checkSchemas(await loadCatalogue()).map(describeIncompatibility)).toEqual([])
})
