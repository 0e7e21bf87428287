import { COMPATIBILITY, SchemaRegistry } from '@kafkajs/confluent-schema-registry'
import { kafkaForTests, registryForTests } from '@weft/local/for-tests'
import {
  bytes,
  HEADERS,
  header,
  headerOf,
  type Message,
  open,
  type Received,
  type SchemaIds,
  type Topic,
  type Transport,
  UNKNOWN_ID,
} from '@weft/transport'
import { describe, expect, inject, test, vi } from 'vitest'
import { type Codec, loadCatalogue, pushSchemas, registrySchemas, releaseSchema } from '../src/index.ts'
import { field, folder, record, topic } from './folder.ts'
import { doorTo } from './registry-door.ts'

const [kafka, registry] = [await kafkaForTests(inject('servers')), await registryForTests(inject('servers'))]

if (kafka && registry) describe('on Kafka, beside a schema registry,', () => cases(kafka.url, registry.url))
else test.skip('Kafka beside a schema registry: not run here, see the last lines', () => {})

interface Thing {
  readonly id: string
  readonly note: string | null
}

const thing = (...fields: object[]) =>
  record([field('id', 'string'), field('note', ['null', 'string'], { default: null }), ...fields])

/** A topic with a schema of its own, released and pushed, and a log that frames by the registry. */
async function scene(url: string, registryUrl: string, { push = true, via = registryUrl, patienceMs = 10_000 } = {}) {
  await using stack = new AsyncDisposableStack()
  const name = `t${crypto.randomUUID().slice(0, 8)}.things.v1`
  const files = stack.use(
    await folder({ 'catalogue.yaml': { topics: { [name]: topic() } }, 'things.v1.avsc': thing() }),
  )
  await releaseSchema(await loadCatalogue(files.dir), name)
  const catalogue = await loadCatalogue(files.dir)
  if (push) await pushSchemas(catalogue, { url: registryUrl })
  const ids = registrySchemas({ url: via, catalogue, patienceMs })
  const at: Topic = { name }
  const log = stack.use(await open(url, { schemas: ids }))
  const plain = stack.use(await open(url))
  await log.admin.ensure([{ topic: at, partitions: 1 }])
  const codec = catalogue.codec(name as never) as never as Codec<Thing>
  const owned = stack.move()
  return {
    topic: at,
    ref: codec.schema,
    catalogue,
    codec,
    ids,
    log,
    /** The same without a registry: it sees what lies in Kafka. */
    plain,
    message: (id: string, rest: Partial<Message> = {}): Message => ({
      ...codec.message({ id, note: `of ${id}` }, { time: 1_700_000_000_000 }),
      ...rest,
    }),
    open: async (schemas: SchemaIds) => owned.use(await open(url, { schemas })),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function take(transport: Transport, from: Topic, count: number): Promise<Received[]> {
  const found: Received[] = []
  for await (const batch of transport.read(from, { from: 'earliest' })) {
    found.push(...batch)
    if (found.length >= count) break
  }
  return found
}

const frame = (id: number, body: Uint8Array) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, body])
}

function cases(url: string, registryUrl: string) {
  test('a value lies in Kafka as Confluent frames it, without a header of ours, and comes back plain', async () => {
    await using here = await scene(url, registryUrl)
    const sent = here.message('a', { headers: [header('x', 'y')] })
    await here.log.append(here.topic, [sent])
    const id = here.ids.idOf(here.ref) as number
    const [raw] = await take(here.plain, here.topic, 1)
    expect(raw?.value).toEqual(frame(id, sent.value as Uint8Array))
    expect(raw).not.toHaveProperty('schema')
    expect(raw?.headers).toEqual([header('x', 'y')])
    const [read] = await take(here.log, here.topic, 1)
    expect(read).toMatchObject({ schema: here.ref, headers: [header('x', 'y')], time: sent.time })
    expect(here.codec.decode(read as Received)).toEqual({ id: 'a', note: 'of a' })
  })

  test('a tombstone has no frame, and what has no schema stays as it is, also when it begins like a frame', async () => {
    await using here = await scene(url, registryUrl)
    const values = [
      null,
      bytes('plain'),
      Uint8Array.of(0, 0, 0, 0, 1, 2, 3),
      Uint8Array.of(0, 0, 0, 0),
      new Uint8Array(),
    ]
    const key = bytes('k')
    await here.log.append(
      here.topic,
      values.map(value => ({ key, value, time: 1 })),
    )
    for (const transport of [here.log, here.plain]) {
      const read = await take(transport, here.topic, values.length)
      expect(read.map(({ value }) => value && [...value])).toEqual(values.map(value => value && [...value]))
      expect(read.filter(({ schema, headers }) => schema ?? headers)).toEqual([])
    }
  })

  test('what was written with the header instead is still read, and the other way round by whoever has no registry', async () => {
    await using here = await scene(url, registryUrl)
    await here.plain.append(here.topic, [here.message('header')])
    await here.log.append(here.topic, [here.message('frame')])
    const read = await take(here.log, here.topic, 2)
    expect(read.map(({ schema }) => schema)).toEqual([here.ref, here.ref])
    expect(read.map(each => here.codec.decode(each).id)).toEqual(['header', 'frame'])
    const [, blind] = await take(here.plain, here.topic, 2)
    expect(() => here.codec.decode(blind as Received)).toThrow(/framed with id \d+ of a schema registry/)
  })

  test('others read what we write and we read what they write, by the registry alone', async () => {
    await using here = await scene(url, registryUrl)
    const theirs = new SchemaRegistry({ host: registryUrl })
    await here.log.append(here.topic, [here.message('ours')])
    const [raw] = await take(here.plain, here.topic, 1)
    expect(await theirs.decode(Buffer.from(raw?.value as Uint8Array))).toMatchObject({ id: 'ours', note: 'of ours' })
    const { id } = await theirs.register(
      { type: 'AVRO', schema: JSON.stringify(thing(field('colour', 'string', { default: 'red' }))) } as never,
      { subject: here.ref.subject, compatibility: COMPATIBILITY.BACKWARD },
    )
    const value = await theirs.encode(id, { id: 'theirs', note: null, colour: 'blue' })
    await here.plain.append(here.topic, [{ value, time: 1 }])
    const [, read] = await take(here.log, here.topic, 2)
    expect(read?.schema).toEqual({ subject: `registry:${here.ref.subject}`, version: 2 })
    expect(here.codec.decode(read as Received)).toEqual({ id: 'theirs', note: null })
    // Passed on, it is byte for byte what it was.
    await here.log.append(here.topic, [read as Received])
    expect((await take(here.plain, here.topic, 3))[2]?.value).toEqual(value)
  })

  test('an id that the registry does not have costs nobody a record: it is a dead letter that names the id', async () => {
    await using here = await scene(url, registryUrl)
    const strange = frame(2_000_000_000, bytes('who knows'))
    await here.plain.append(here.topic, [
      { key: bytes('k'), value: strange, time: 1 },
      { ...here.message('after'), key: bytes('k') },
    ])
    const handled: string[] = []
    const subscribing = { group: `g-${crypto.randomUUID()}` }
    await using _running = await here.log.subscribe(here.topic, subscribing, message => {
      handled.push(here.codec.decode(message).id)
    })
    const [letter] = await take(here.log, { name: `${here.topic.name}.dlq` }, 1)
    expect(letter).toMatchObject({ value: strange, schema: { subject: UNKNOWN_ID, version: 2_000_000_000 } })
    expect(headerOf(letter as Received, HEADERS.errorCode)).toBe('SCHEMA')
    expect(headerOf(letter as Received, HEADERS.error)).toContain('id 2000000000')
    expect((await take(here.plain, { name: `${here.topic.name}.dlq` }, 1))[0]?.value).toEqual(strange)
    await vi.waitFor(() => expect(handled).toEqual(['after']))
  })

  test('while the registry is away, what is known goes on, and what is not waits without being lost', async () => {
    await using door = await doorTo(registryUrl)
    await using here = await scene(url, registryUrl, { via: door.url, patienceMs: 200 })
    await here.ids.warm()
    await door.shut()
    await here.log.append(here.topic, [here.message('known')])
    expect(await take(here.log, here.topic, 1)).toMatchObject([{ schema: here.ref }])
    // Another reader, which has never asked.
    const late = await here.open(registrySchemas({ url: door.url, catalogue: here.catalogue, patienceMs: 200 }))
    await expect(late.append(here.topic, [here.message('refused')])).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining(door.url),
    })
    await door.open()
    door.asked.length = 0
    door.failures.push(...Array(1_000).fill(503))
    let done = false
    const reading = take(late, here.topic, 1).finally(() => {
      done = true
    })
    await vi.waitFor(() => expect(door.asked.length).toBeGreaterThan(2), { timeout: 20_000 })
    expect(done).toBe(false)
    door.failures.length = 0
    expect((await reading).map(each => here.codec.decode(each).id)).toEqual(['known'])
  })

  test('a registry that lets nobody in ends readers and members with what it said', async () => {
    await using door = await doorTo(registryUrl)
    await using here = await scene(url, registryUrl, { via: door.url })
    await here.log.append(here.topic, [here.message('a')])
    door.authorization = 'Bearer a-token'
    const late = await here.open(registrySchemas({ url: door.url, catalogue: here.catalogue }))
    await expect(take(late, here.topic, 1)).rejects.toMatchObject({ code: 'DENIED' })
    const running = await late.subscribe(here.topic, { group: `g-${crypto.randomUUID()}` }, () => {})
    await expect(running.done).rejects.toMatchObject({ code: 'DENIED' })
  })

  test('a transaction frames what it writes, and waits for a registry that is away instead of burying its input', async () => {
    await using door = await doorTo(registryUrl)
    await using here = await scene(url, registryUrl, { via: door.url, patienceMs: 200 })
    const [input, output] = [{ name: `in-${crypto.randomUUID()}` }, here.topic]
    await here.log.admin.ensure([{ topic: input, partitions: 1 }])
    await here.log.append(input, [
      { key: bytes('k'), value: bytes('one'), time: 1 },
      { key: bytes('k'), value: bytes('two'), time: 1 },
    ])
    await door.shut()
    let calls = 0
    const transacting = { group: `g-${crypto.randomUUID()}`, retry: { maxAttempts: 2, minMs: 1 } }
    await using _running = await here.log.transact([input], transacting, (batch, transaction) => {
      calls++
      transaction.append(
        output,
        batch.map(({ value }) => here.message(Buffer.from(value as Uint8Array).toString())),
      )
    })
    await vi.waitFor(() => expect(calls).toBeGreaterThan(0), { timeout: 20_000 })
    await door.open()
    const read = await take(here.log, output, 2)
    expect(read.map(each => here.codec.decode(each).id)).toEqual(['one', 'two'])
    const [raw] = await take(here.plain, output, 1)
    expect(raw?.value?.[0]).toBe(0)
    const { first, end } = await here.log.admin.describe({ name: `${input.name}.dlq` })
    expect(end).toEqual(first)
  })

  test('a writer frames what it appends once', async () => {
    await using here = await scene(url, registryUrl)
    await using writer = await here.log.writer(`w-${crypto.randomUUID()}`)
    await writer.append(here.topic, [{ sequence: 1n, message: here.message('a') }])
    await writer.append(here.topic, [
      { sequence: 1n, message: here.message('a') },
      { sequence: 2n, message: here.message('b') },
    ])
    const read = await take(here.log, here.topic, 2)
    expect(read.map(each => here.codec.decode(each).id)).toEqual(['a', 'b'])
    expect((await take(here.plain, here.topic, 2)).map(({ value }) => value?.[0])).toEqual([0, 0])
  })

  test('a dead letter is framed as its message was', async () => {
    await using here = await scene(url, registryUrl)
    await here.log.append(here.topic, [here.message('bad')])
    const subscribing = { group: `g-${crypto.randomUUID()}`, retry: { maxAttempts: 1 } }
    await using _running = await here.log.subscribe(here.topic, subscribing, () => {
      throw new Error('no')
    })
    const letters = { name: `${here.topic.name}.dlq` }
    const [letter] = await take(here.log, letters, 1)
    expect(here.codec.decode(letter as Received)).toEqual({ id: 'bad', note: 'of bad' })
    expect((await take(here.plain, letters, 1))[0]?.value).toEqual((await take(here.plain, here.topic, 1))[0]?.value)
  })

  test('a schema that was not pushed is refused by name, and taken once it was', async () => {
    await using here = await scene(url, registryUrl, { push: false })
    await expect(here.log.append(here.topic, [here.message('early')])).rejects.toMatchObject({
      code: 'SCHEMA',
      message: expect.stringMatching(`${here.ref.subject}.*weft schemas push`),
    })
    await pushSchemas(here.catalogue, { url: registryUrl })
    await here.log.append(here.topic, [here.message('late')])
    expect((await take(here.log, here.topic, 1)).map(each => here.codec.decode(each).id)).toEqual(['late'])
  })
}
