import { bytes, text, WeftError } from '@weft/transport'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type AvroSchema, type Events, loadCatalogue, SchemaFaults } from '../src/index.ts'
import { anyOf } from './arbitrary.ts'

const catalogue = await loadCatalogue()
const topics = [...catalogue.topics.keys()] as (keyof Events)[]
const anyValue = (topic: keyof Events) => anyOf(catalogue.topics.get(topic)?.avro as AvroSchema) as fc.Arbitrary<never>

const event = {
  event_id: 'e1',
  store_id: 'aurora',
  type: 'page_view',
  payload: '{}',
  sent_at: 1_700_000_000_000,
  received_at: 1_700_000_000_001,
}
const deadLetter = {
  dead_letter_id: 'd1',
  store_id: 'aurora',
  original_topic: 'events.raw.v1',
  original_partition: 3,
  original_position: '42',
  original_time: 0,
  error_code: 'PAYLOAD',
  error_reason: 'x',
  consumer: 'validate',
  failed_at: 0,
}

test.each(topics)('any value of %s comes back as it was', topic => {
  const codec = catalogue.codec(topic)
  fc.assert(
    fc.property(anyValue(topic), value => {
      expect(plain(codec.decode({ value: codec.encode(value), schema: codec.schema }))).toEqual(plain(value))
    }),
    { numRuns: 50 },
  )
})

test('what has a default may be left out', () => {
  const codec = catalogue.codec('events.raw.v1')
  const absent = { user_id: null, session_id: null, idempotency_key: null, user_agent: null, referrer: null }
  expect(plain(codec.decode({ value: codec.encode(event) }))).toEqual({ ...event, ...absent })
})

test('a message has the key, the schema and the time that the catalogue and the caller give', () => {
  const codec = catalogue.codec('events.raw.v1')
  const message = codec.message({ ...event, session_id: 's1' }, { time: 5, headers: [['a', bytes('b')]] })
  expect(message).toMatchObject({
    time: 5,
    headers: [['a', bytes('b')]],
    schema: { subject: 'events.raw.v1-value', version: codec.schema.version },
  })
  expect(text(message.key as Uint8Array)).toBe('aurora:s1')
  expect(codec.decode(message).event_id).toBe('e1')
})

test('a value that does not fit is refused with every path at once, and texts are not repeated', () => {
  const codec = catalogue.codec('events.dlq.v1')
  const wrong = {
    ...deadLetter,
    store_id: undefined,
    attempts: 1.5,
    original_headers: [{ name: 'n', value: 'secret' }],
  }
  const error = thrown(() => codec.encode(wrong as never)) as SchemaFaults
  expect(error).toBeInstanceOf(SchemaFaults)
  expect(error.code).toBe('SCHEMA')
  expect(error.faults).toEqual([
    { path: '/store_id', problem: 'is missing', expected: 'string' },
    { path: '/original_headers/0/value', problem: 'is a string of 6 characters', expected: 'bytes' },
    { path: '/attempts', problem: 'is 1.5', expected: 'int' },
  ])
  expect(error.message).not.toContain('secret')
})

test.each([
  [{ severity: 'urgent' }, '/severity', 'one of info, warning, critical'],
  [{ user_id: 7 }, '/user_id', 'null or string'],
  [{ event_time: Number.NaN }, '/event_time', 'long'],
  [{ event_time: 2 ** 52 }, '/event_time', 'long'],
  [{ event_time: -(2 ** 52) - 1 }, '/event_time', 'long'],
  [{ score: '0.5' }, '/score', 'null or double'],
])('an alert with %o is refused', (wrong, path, expected) => {
  const alert = {
    alert_id: 'a',
    store_id: 's',
    entity: 's:u',
    rule: 'r',
    severity: 'info',
    state: 'raised',
    message: 'm',
    event_time: 0,
    raised_at: 0,
  }
  const error = thrown(() => catalogue.codec('alerts.v1').encode({ ...alert, ...wrong } as never)) as SchemaFaults
  expect(error.faults).toMatchObject([{ path, expected }])
})

test.each([null, undefined, 3, 'text', [], () => 0])('%o is no value of any topic', value => {
  for (const topic of topics) expect(() => catalogue.codec(topic).encode(value as never)).toThrow(WeftError)
})

test('plain Uint8Arrays are bytes, and decoded bytes are memory of their own', () => {
  const codec = catalogue.codec('events.dlq.v1')
  const encoded = codec.encode({ ...deadLetter, original_value: new Uint8Array([1, 2, 3]) })
  const decoded = codec.decode({ value: new Uint8Array(encoded) })
  encoded.fill(0)
  expect([...(decoded.original_value as Uint8Array)]).toEqual([1, 2, 3])
})

test('encoded bytes stay as they are while others are encoded', () => {
  const codec = catalogue.codec('events.raw.v1')
  const first = codec.encode(event)
  const copy = Buffer.from(first)
  for (let index = 0; index < 100; index++) codec.encode({ ...event, event_id: `other-${index}` })
  expect(copy.equals(first)).toBe(true)
})

test.each([65_500, 65_536, 1_048_576, 5_000_000])('a payload of %i bytes is encoded whole', size => {
  const codec = catalogue.codec('events.raw.v1')
  const payload = 'é'.repeat(size / 2)
  expect(codec.decode({ value: codec.encode({ ...event, payload }) }).payload === payload).toBe(true)
})

test('a map keeps a key that JavaScript gives a meaning of its own', () => {
  const codec = catalogue.codec('tracking.metrics.v1')
  const labels = JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, string>
  const value = { service_id: 's', metric_name: 'm', metric_value: 1, timestamp: 0, labels }
  expect(Object.entries(codec.decode({ value: codec.encode(value) }).labels)).toEqual(Object.entries(labels))
})

test('lone surrogates are replaced, so that the bytes are UTF-8', () => {
  const codec = catalogue.codec('events.raw.v1')
  const encoded = codec.encode({ ...event, event_id: 'a\ud800b', payload: `${'x'.repeat(100)}\udc00` })
  expect(codec.decode({ value: encoded })).toMatchObject({ event_id: 'a\ufffdb', payload: `${'x'.repeat(100)}\ufffd` })
})

test('a tombstone, another subject and a version that is not known are refused with what they are', () => {
  const codec = catalogue.codec('events.raw.v1')
  const value = codec.encode(event)
  expect(() => codec.decode({ value: null })).toThrow(/events\.raw\.v1: a tombstone has no value/)
  expect(() => codec.decode({ value, schema: { subject: 'alerts.v1-value', version: 1 } })).toThrow(
    /expected subject events\.raw\.v1-value/,
  )
  const unknown = thrown(() => codec.decode({ value, schema: { subject: 'events.raw.v1-value', version: 99 } }))
  expect(unknown).toMatchObject({ code: 'SCHEMA', message: expect.stringMatching(/no version 99 here.*newer release/) })
})

test.each(topics)('bytes of %s that were cut or have something behind them are refused', topic => {
  const codec = catalogue.codec(topic)
  const [value] = fc.sample(anyValue(topic), { numRuns: 1, seed: 7 })
  const whole = codec.encode(value as never)
  for (let length = 0; length < whole.length; length++) {
    expect(() => codec.decode({ value: whole.subarray(0, length) })).toThrow(WeftError)
  }
  expect(() => codec.decode({ value: Buffer.concat([whole, Buffer.from([0])]) })).toThrow(/trailing/)
})

test('hostile bytes are a value or a SCHEMA error, at once, and never anything else', () => {
  fc.assert(
    fc.property(fc.constantFrom(...topics), fc.uint8Array({ maxLength: 200 }), (topic, value) => {
      const error = thrown(() => catalogue.codec(topic).decode({ value }))
      if (error !== undefined) expect(error).toMatchObject({ code: 'SCHEMA', retryable: false })
    }),
    { numRuns: 3000 },
  )
})

test('a count or a length that the bytes cannot hold ends at once', () => {
  const codec = catalogue.codec('tracking.metrics.v1')
  const head = [0, 0]
  const hugeCount = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]
  const negative = [1]
  for (const labels of [
    hugeCount,
    [0x02, ...hugeCount],
    [0x02, ...negative],
    [...negative, ...hugeCount],
    [0x01, 0x01],
  ]) {
    expect(() => codec.decode({ value: new Uint8Array([...head, ...labels]) })).toThrow(WeftError)
  }
})

function thrown(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}

/** Decoded records have a class and Buffers for bytes; only their content matters here. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: [...value] }
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}
