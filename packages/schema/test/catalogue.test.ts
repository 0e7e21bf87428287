import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Catalogue, loadCatalogue, SchemaFaults } from '../src/index.ts'
import { field, folder, oneTopic, record, topic } from './folder.ts'

const TOPICS = [
  'events.raw.v1 events.validated.v1 events.dlq.v1 events.enriched.v1 events.late.v1',
  'features.stream.v1 features.latest.v1 features.entity.v1 signals.scores.v1 predictions.v1 predictions.latest.v1',
  'alerts.v1 alerts.analytics.v1 interventions.commands.v1 interventions.receipts.v1 interventions.results.v1 tracking.metrics.v1',
  'models.events.v1 models.prediction.audit.v1 alerts.system.v1',
].flatMap(line => line.split(' '))

async function faultsOf(dir: string) {
  const error = await loadCatalogue(dir).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(SchemaFaults)
  return (error as SchemaFaults).faults
}

test('the catalogue defines every topic of the seeds and the late side output, each with its schema', async () => {
  const { topics } = await loadCatalogue()
  expect([...topics.keys()].toSorted()).toEqual(TOPICS.toSorted())
  for (const { avro } of topics.values()) expect(avro.namespace).toBe('dev.weft')
})

test('all topics that carry an entity have equally many partitions and the same key', async () => {
  const { topics } = await loadCatalogue()
  const together = [...topics.values()].filter(({ copartitioned }) => copartitioned.includes('entity'))
  expect(together.length).toBeGreaterThan(9)
  expect(new Set(together.map(({ partitions }) => partitions))).toEqual(new Set([12]))
  const keys = new Set(together.map(({ key }) => key))
  expect(keys).toEqual(new Set(['{store_id}:{user_id|session_id}', '{entity}']))
})

test('specs give a transport what it needs to create the topics', async () => {
  const catalogue = await loadCatalogue()
  const specs = new Map(catalogue.specs().map(spec => [spec.topic.name, spec]))
  expect(specs.get('events.raw.v1')).toEqual({
    topic: { name: 'events.raw.v1' },
    partitions: 12,
    retentionMs: 604_800_000,
    cleanup: 'delete',
  })
  expect(specs.get('features.latest.v1')).toMatchObject({ cleanup: 'compact', retentionMs: undefined })
})

test('durations and sizes are written for people and read as milliseconds and bytes', async () => {
  await using sizes = await oneTopic(undefined, { retention: '90m', retentionBytes: '3KiB' })
  const [spec] = (await loadCatalogue(sizes.dir)).specs()
  expect(spec).toMatchObject({ retentionMs: 5_400_000, retentionBytes: 3072 })
})

test('a folder without a catalogue is refused with the path that was looked at', async () => {
  await using empty = await folder()
  const [fault] = await faultsOf(empty.dir)
  expect(fault?.path).toContain('catalogue.yaml')
})

const ONE_FAULT: readonly [why: string, rest: object, path: string, says: RegExp][] = [
  ['an unknown field', { partition: 3 }, '/topics/things.v1/partition', /did you mean "partitions"\?/],
  ['a missing field', { owner: undefined }, '/topics/things.v1/owner', /is missing/],
  ['no partitions', { partitions: 0 }, '/topics/things.v1/partitions', /is 0; expected a whole number from 1/],
  ['half a partition', { partitions: 1.5 }, '/topics/things.v1/partitions', /is 1\.5/],
  ['a duration without a unit', { retention: '7' }, '/topics/things.v1/retention', /expected a duration such as 7d/],
  ['a number as duration', { retention: 604800 }, '/topics/things.v1/retention', /is 604800/],
  [
    'a size without a unit',
    { retentionBytes: 5 },
    '/topics/things.v1/retentionBytes',
    /expected a size such as 512MiB/,
  ],
  ['no retention on a topic that deletes', { retention: undefined }, '/topics/things.v1/retention', /is missing/],
  [
    'retention on a compacted topic',
    { cleanup: 'compact' },
    '/topics/things.v1/retention',
    /does not apply to a compacted/,
  ],
  ['a cleanup policy of its own', { cleanup: 'purge' }, '/topics/things.v1/cleanup', /one of delete, compact/],
  [
    'a compatibility typo',
    { compatibility: 'BACKWARDS' },
    '/topics/things.v1/compatibility',
    /did you mean "BACKWARD"\?/,
  ],
  ['nobody who produces', { producers: [] }, '/topics/things.v1/producers', /a list of services/],
  [
    'a missing schema file',
    { schema: 'nothing.avsc' },
    '/topics/things.v1/schema',
    /nothing\.avsc cannot be read \(ENOENT\)/,
  ],
  ['a schema outside the folder', { schema: '../x.avsc' }, '/topics/things.v1/schema', /beside the catalogue/],
  [
    'a key field that the schema lacks',
    { key: '{idd}' },
    '/topics/things.v1/key',
    /names idd, which Thing does not have, did you mean "id"\?/,
  ],
  ['a key without fields', { key: 'all' }, '/topics/things.v1/key', /names no field/],
  ['an open brace in the key', { key: '{id' }, '/topics/things.v1/key', /not a field in braces/],
]

test.each(ONE_FAULT)(
  'a topic with %s is refused, naming where and what would be right',
  async (_, rest, path, says) => {
    await using wrong = await oneTopic(undefined, rest)
    const faults = await faultsOf(wrong.dir)
    expect(faults.map(fault => fault.path)).toEqual([path])
    expect(faults.map(({ problem, expected }) => `${problem}; expected ${expected}`)[0]).toMatch(says)
  },
)

test('every fault is listed at once, also in the message', async () => {
  await using wrong = await folder({
    'catalogue.yaml': {
      topcis: {},
      copartitioned: { pair: ['a.v1', 'b.v1', 'c.v1'] },
      topics: {
        'a.v1': topic({ schema: 'a.avsc', partitions: 2 }),
        'b.v1': topic({ schema: 'b.avsc', partitions: 4, compatibility: 'FUL' }),
        Bad: topic({ schema: 'a.avsc' }),
      },
    },
    'a.avsc': record([field('id', 'string')]),
    'b.avsc': '{ not json',
  })
  const error = await loadCatalogue(wrong.dir).catch((thrown: SchemaFaults) => thrown)
  const { faults, message } = error as SchemaFaults
  expect(faults.map(({ path }) => path).toSorted()).toEqual(
    [
      '/topcis',
      '/topics/Bad',
      '/topics/b.v1/compatibility',
      '/b.avsc',
      '/topics/b.v1/partitions',
      '/copartitioned/pair/2',
    ].toSorted(),
  )
  expect(message.split('\n')).toHaveLength(faults.length + 1)
  expect(error).toMatchObject({ code: 'SCHEMA', retryable: false })
})

test('a topic that is there twice is refused with the line of the second', async () => {
  const lines = ['topics:', '  things.v1: { partitions: 1 }', '  things.v1: { partitions: 2 }']
  await using wrong = await folder({ 'catalogue.yaml': lines.join('\n') })
  const faults = await faultsOf(wrong.dir)
  expect(faults).toContainEqual(
    expect.objectContaining({ path: '/topics/things.v1', problem: expect.stringContaining('line 3') }),
  )
})

test.each([
  ['an unclosed bracket', 'topics: [', /line 1/],
  ['an alias of nothing', 'topics: *other', /other/],
  ['a tab as indent', 'topics:\n\tthings.v1: 1', /line 2/],
])('text that is not YAML (%s) is refused with what is wrong', async (_, yaml, says) => {
  await using wrong = await folder({ 'catalogue.yaml': yaml })
  expect((await faultsOf(wrong.dir))[0]?.problem).toMatch(says)
})

test.each([
  '',
  '[]',
  'topics:',
  'topics: {}',
  'topics: [a]',
  'topics: { a.v1: }',
  'copartitioned: 3',
  '{topics: {a.v1: {key: 3}}}',
  '"topics"',
])('a catalogue of the wrong shape is refused and nothing else goes wrong: %s', async yaml => {
  await using wrong = await folder({ 'catalogue.yaml': yaml })
  expect((await faultsOf(wrong.dir)).length).toBeGreaterThan(0)
})

const AVRO_FAULTS: readonly [why: string, schema: unknown, path: string, says: RegExp][] = [
  [
    'a logicalType beside the type',
    record([field('id', 'string'), field('at', 'long', { logicalType: 'timestamp-millis' })]),
    '/things.v1.avsc/fields/at/logicalType',
    /inside the type: "type": \{"type": "long", "logicalType": "timestamp-millis"\}/,
  ],
  [
    'a logicalType that does not fit',
    record([field('id', 'string'), field('at', { type: 'int', logicalType: 'timestamp-millis' })]),
    '/things.v1.avsc/fields/at/type/logicalType',
    /expected type "long"/,
  ],
  ['a field without a doc', record([{ name: 'id', type: 'string' }]), '/things.v1.avsc/fields/id/doc', /is missing/],
  [
    'a mistyped attribute',
    record([field('id', 'string', { defualt: '' })]),
    '/things.v1.avsc/fields/id/defualt',
    /did you mean "default"\?/,
  ],
  ['a type that is nowhere defined', record([field('id', 'strnig')]), '/things.v1.avsc', /strnig/],
  [
    'a default of another branch',
    record([field('id', ['null', 'string'], { default: 'x' })]),
    '/things.v1.avsc',
    /default/,
  ],
  ['a union that JavaScript cannot tell apart', record([field('id', ['int', 'long'])]), '/things.v1.avsc', /ambiguous/],
  ['the same field twice', record([field('id', 'string'), field('id', 'string')]), '/things.v1.avsc', /duplicate/],
  ['no record', { type: 'enum', name: 'E', symbols: ['a'] }, '/things.v1.avsc', /not a record/],
  ['a field that is none', record([field('id', 'string'), 'x' as never]), '/things.v1.avsc/fields/1', /not a field/],
]

test.each(AVRO_FAULTS)('a schema with %s is refused', async (_, schema, path, says) => {
  await using wrong = await oneTopic(schema)
  const faults = await faultsOf(wrong.dir)
  expect(faults.map(fault => fault.path)).toEqual([path])
  expect(`${faults[0]?.problem}; expected ${faults[0]?.expected}`).toMatch(says)
})

test('two schemas that define one name differently are refused, since the types share it', async () => {
  const severity = (symbols: string[]) => field('severity', { type: 'enum', name: 'Severity', symbols })
  await using wrong = await folder({
    'catalogue.yaml': { topics: { 'a.v1': topic({ schema: 'a.avsc' }), 'b.v1': topic({ schema: 'b.avsc' }) } },
    'a.avsc': record([field('id', 'string'), severity(['low'])], { name: 'A' }),
    'b.avsc': record([field('id', 'string'), severity(['low', 'high'])], { name: 'B' }),
  })
  expect(await faultsOf(wrong.dir)).toMatchObject([
    { path: '/topics/b.v1/schema', problem: expect.stringContaining('Severity') },
  ])
})

test('whatever stands in a catalogue, it is loaded or refused with faults', async () => {
  await using somewhere = await oneTopic()
  const whole = JSON.parse(await somewhere.read('catalogue.yaml'))
  const paths = [[], ['topics'], ['copartitioned'], ['topics', 'things.v1'], ['topics', 'other.v1']]
  const fields = ['key', 'schema', 'partitions', 'retention', 'retentionBytes', 'cleanup', 'producers', 'constructor']
  const anywhere = fc.constantFrom(...paths, ...fields.map(field => ['topics', 'things.v1', field]))
  await fc.assert(
    fc.asyncProperty(anywhere, fc.oneof(fc.jsonValue(), fc.string()), async (path, value) => {
      await somewhere.write('catalogue.yaml', JSON.stringify(put(whole, path, value)))
      const result = await loadCatalogue(somewhere.dir).catch((error: unknown) => error)
      expect(result instanceof SchemaFaults ? result.faults.length > 0 : (result as Catalogue).topics.size > 0).toBe(
        true,
      )
    }),
    { numRuns: 300 },
  )
})

function put(whole: unknown, [name, ...rest]: readonly string[], value: unknown): unknown {
  return name === undefined
    ? value
    : { ...(whole as object), [name]: put((whole as Record<string, unknown>)[name], rest, value) }
}

test('a codec for a topic that is not there is refused with the topic that was meant', async () => {
  const catalogue = await loadCatalogue()
  expect(() => catalogue.codec('alert.v1' as never)).toThrow('did you mean "alerts.v1"?')
})
