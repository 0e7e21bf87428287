import { registryForTests } from '@weft/local/for-tests'
import { UNKNOWN_ID } from '@weft/transport'
import { describe, expect, inject, test } from 'vitest'
import { loadCatalogue, pushSchemas, registrySchemas, releaseSchema } from '../src/index.ts'
import { field, folder, record, topic } from './folder.ts'
import { doorTo } from './registry-door.ts'

const server = await registryForTests(inject('servers'))

/** A catalogue of one topic with a name of its own, and what it takes to change and release its schema. */
async function fresh(schema: unknown = thing(), rest: object = {}) {
  const name = `t${crypto.randomUUID().slice(0, 8)}.things.v1`
  const files = await folder({ 'catalogue.yaml': { topics: { [name]: topic(rest) } }, 'things.v1.avsc': schema })
  const release = async (changed?: unknown) => {
    if (changed) await files.write('things.v1.avsc', changed)
    await releaseSchema(await loadCatalogue(files.dir), name)
    return loadCatalogue(files.dir)
  }
  return {
    name,
    subject: `${name}-value`,
    files,
    release,
    catalogue: await release(),
    load: () => loadCatalogue(files.dir),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  }
}

const thing = (...fields: object[]) => record([field('id', 'string'), ...fields])
const added = (name: string) => field(name, ['null', 'string'], { default: null })

if (server) describe('a schema registry', () => cases(server.url))
else test.skip('a schema registry: not run here, see the last lines', () => {})

function cases(url: string) {
  const ask = async (path: string, body?: object, method = body ? 'POST' : 'GET') => {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) })
    return response.json()
  }
  const byHand = async (subject: string, schema: object): Promise<number> =>
    ((await ask(`/subjects/${subject}/versions`, { schema: JSON.stringify(schema) })) as { id: number }).id

  test('gets every release in its order and the compatibility of the catalogue, and pushing again changes nothing', async () => {
    await using topic = await fresh(thing(), { compatibility: 'FULL_TRANSITIVE' })
    const catalogue = await topic.release(thing(added('note')))
    const [first] = await pushSchemas(catalogue, { url })
    expect(first).toMatchObject({
      topic: topic.name,
      subject: topic.subject,
      action: 'registered',
      versions: [
        { version: 1, id: expect.any(Number), isNew: true },
        { version: 2, id: expect.any(Number), isNew: true },
      ],
      refusals: [],
    })
    expect(await ask(`/subjects/${topic.subject}/versions`)).toEqual([1, 2])
    expect(await ask(`/config/${topic.subject}`)).toEqual({ compatibilityLevel: 'FULL_TRANSITIVE' })
    const [again] = await pushSchemas(catalogue, { url })
    const versions = first?.versions.map(each => ({ ...each, isNew: false }))
    expect(again).toEqual({ ...first, action: 'unchanged', versions })
  })

  test('is told of a later release and of another compatibility only', async () => {
    await using topic = await fresh()
    await pushSchemas(topic.catalogue, { url })
    const second = await topic.release(thing(added('note')))
    expect(await pushSchemas(second, { url })).toMatchObject([
      {
        action: 'registered',
        versions: [
          { version: 1, isNew: false },
          { version: 2, isNew: true },
        ],
      },
    ])
    const yaml = {
      topics: { [topic.name]: { ...JSON.parse(await topic.files.read('catalogue.yaml')).topics[topic.name] } },
    }
    yaml.topics[topic.name].compatibility = 'FULL'
    await topic.files.write('catalogue.yaml', yaml)
    expect(await pushSchemas(await topic.load(), { url })).toMatchObject([
      { action: 'configured', compatibility: 'FULL', compatibilityWas: 'BACKWARD' },
    ])
    expect(await ask(`/config/${topic.subject}`)).toEqual({ compatibilityLevel: 'FULL' })
  })

  test('is not changed by a dry run, which says what would be done', async () => {
    await using topic = await fresh()
    const [would] = await pushSchemas(topic.catalogue, { url, dryRun: true })
    expect(would).toMatchObject({ action: 'registered', versions: [{ version: 1, isNew: true }] })
    expect(would?.versions[0]).not.toHaveProperty('id')
    expect(await ask(`/subjects/${topic.subject}/versions`)).toMatchObject({ error_code: 40401 })
  })

  test('gets nothing at all when one topic is refused, and the field is named', async () => {
    await using right = await fresh()
    await using wrong = await fresh()
    // Another registered a version that the catalogue's next one does not go with.
    await pushSchemas(wrong.catalogue, { url })
    await byHand(wrong.subject, thing(field('total', 'int', { default: 0 })))
    await wrong.release(thing(added('total')))
    const both = await folder({
      'catalogue.yaml': {
        topics: {
          [right.name]: topic({ schema: 'right.avsc' }),
          [wrong.name]: topic({ schema: 'wrong.avsc' }),
        },
      },
      'right.avsc': { ...thing(), name: 'Right' },
      'wrong.avsc': await wrong.files.read('things.v1.avsc'),
      [`released/${wrong.name}/1.avsc`]: thing(),
      [`released/${wrong.name}/2.avsc`]: await wrong.files.read('things.v1.avsc'),
      'released/index.json': await wrong.files.read('released/index.json'),
    })
    await using _gone = both
    await releaseSchema(await loadCatalogue(both.dir), right.name)
    const pushed = await pushSchemas(await loadCatalogue(both.dir), { url })
    expect(pushed.map(({ action }) => action)).toEqual(['registered', 'refused'])
    expect(pushed[1]?.refusals).toEqual([expect.stringMatching(/total \(BACKWARD, version 2\): .*int.*keep/)])
    expect(await ask(`/subjects/${right.subject}/versions`)).toMatchObject({ error_code: 40401 })
    expect(await ask(`/subjects/${wrong.subject}/versions`)).toEqual([1, 2])
  })

  test('has the last word on what is compatible', async () => {
    await using topic = await fresh(thing(), { compatibility: 'BACKWARD' })
    await pushSchemas(topic.catalogue, { url })
    // Of another kind, which only the registry can compare.
    const other = await fresh()
    await using _gone = other
    await byHand(other.subject, { type: 'string' })
    await ask(`/config/${other.subject}`, { compatibility: 'BACKWARD' }, 'PUT')
    const [pushed] = await pushSchemas(other.catalogue, { url })
    expect(pushed).toMatchObject({ action: 'refused', versions: [{ version: 1, isNew: true }] })
    expect(pushed?.refusals.join()).toMatch(/version 1/)
    expect(await ask(`/subjects/${other.subject}/versions`)).toEqual([1])
  })

  test('is not given what was not released', async () => {
    await using topic = await fresh()
    await topic.files.write('things.v1.avsc', thing(added('note')))
    expect(await pushSchemas(await topic.load(), { url })).toMatchObject([
      { action: 'refused', refusals: [expect.stringContaining(`weft schemas release ${topic.name}`)] },
    ])
    expect(await ask(`/subjects/${topic.subject}/versions`)).toMatchObject({ error_code: 40401 })
  })

  test('gives ids and schemas back, asked once for each and for what many ask at a time', async () => {
    await using topic = await fresh()
    const [pushed] = await pushSchemas(topic.catalogue, { url })
    await using door = await doorTo(url)
    const ids = registrySchemas({ url: door.url, catalogue: topic.catalogue })
    const ref = { subject: topic.subject, version: 1 }
    expect(ids.idOf(ref)).toBeUndefined()
    const id = pushed?.versions[0]?.id as number
    expect(await Promise.all(Array.from({ length: 20 }, () => ids.findId({ ...ref })))).toEqual(Array(20).fill(id))
    expect(ids.idOf({ ...ref })).toBe(id)
    expect(await Promise.all(Array.from({ length: 20 }, () => ids.findSchema(id, topic.name)))).toEqual(
      Array(20).fill(ref),
    )
    expect(ids.schemaOf(id, topic.name)).toEqual(ref)
    expect(door.asked).toEqual([`POST /subjects/${topic.subject}`, `GET /schemas/ids/${id}`])
  })

  test('is asked for the subject of the topic where several share a schema', async () => {
    const shared = thing(added(`n${crypto.randomUUID().slice(0, 8)}`))
    await using one = await fresh(shared)
    await using other = await fresh(shared)
    await pushSchemas(one.catalogue, { url })
    const [{ versions: [{ id = 0 } = {}] = [] } = {}] = await pushSchemas(other.catalogue, { url })
    const plain = registrySchemas({ url })
    expect(await plain.findSchema(id, one.name)).toEqual({ subject: one.subject, version: 1 })
    expect(await plain.findSchema(id, other.name)).toEqual({ subject: other.subject, version: 1 })
    expect(plain.schemaOf(id, one.name)).toEqual({ subject: one.subject, version: 1 })
    const known = registrySchemas({ url, catalogue: one.catalogue })
    expect(await known.findSchema(id, `${one.name}.dlq`)).toEqual({ subject: one.subject, version: 1 })
  })

  test('may count its versions otherwise than the catalogue, and have other texts of the same schema', async () => {
    await using topic = await fresh()
    await byHand(topic.subject, { ...thing(), doc: 'Other words.' })
    await byHand(topic.subject, thing(added('theirs')))
    const id = await byHand(topic.subject, thing(added('theirs'), added('ours')))
    await topic.release(thing(added('theirs'), added('ours')))
    const catalogue = await topic.load()
    expect(await pushSchemas(catalogue, { url })).toMatchObject([{ action: 'configured' }])
    const ids = registrySchemas({ url, catalogue })
    expect(await ids.findSchema(id, topic.name)).toEqual({ subject: topic.subject, version: 2 })
    expect(await ids.findId({ subject: topic.subject, version: 2 })).toBe(id)
    expect(await ids.findId({ subject: topic.subject, version: 1 })).toBeLessThan(id)
  })

  test('teaches the codec what others registered under its subject, and finds the way back', async () => {
    await using topic = await fresh(thing(field('n', 'int', { default: 7 })))
    await pushSchemas(topic.catalogue, { url })
    const id = await byHand(topic.subject, thing(added('colour')))
    const ids = registrySchemas({ url, catalogue: topic.catalogue })
    const schema = await ids.findSchema(id, topic.name)
    expect(schema).toEqual({ subject: `registry:${topic.subject}`, version: 2 })
    expect(await registrySchemas({ url, catalogue: topic.catalogue }).findId(schema)).toBe(id)
    const codec = topic.catalogue.codec(topic.name as never)
    // id "x", colour null
    expect(codec.decode({ value: Uint8Array.of(2, 0x78, 0), schema })).toEqual({ id: 'x', n: 7 })
  })

  test('says which id it does not have, and is asked again later only', async () => {
    await using topic = await fresh()
    await using door = await doorTo(url)
    const ids = registrySchemas({ url: door.url, catalogue: topic.catalogue })
    const schema = { subject: UNKNOWN_ID, version: 2_000_000_000 }
    for (let i = 0; i < 3; i++) expect(await ids.findSchema(2_000_000_000, topic.name)).toEqual(schema)
    expect(await ids.findSchema(4_294_967_295, topic.name)).toEqual({ ...schema, version: 4_294_967_295 })
    expect(door.asked.length).toBeLessThanOrEqual(2)
    const codec = topic.catalogue.codec(topic.name as never)
    expect(() => codec.decode({ value: Uint8Array.of(0, 1, 2, 3, 4, 5), schema })).toThrow(/id 2000000000/)
  })

  test('is waited for while it is away, and then named', async () => {
    await using topic = await fresh()
    await pushSchemas(topic.catalogue, { url })
    await using door = await doorTo(url)
    door.failures.push(503, 429, 500)
    const patient = registrySchemas({ url: door.url, catalogue: topic.catalogue })
    const ref = { subject: topic.subject, version: 1 }
    expect(await patient.findId(ref)).toBeGreaterThan(0)
    await door.shut()
    // What is known needs no registry.
    expect(patient.idOf(ref)).toBeGreaterThan(0)
    const ids = registrySchemas({ url: door.url, catalogue: topic.catalogue, patienceMs: 100 })
    const refusal = { code: 'UNAVAILABLE', retryable: true, message: expect.stringContaining(door.url) }
    await expect(ids.findId(ref)).rejects.toMatchObject(refusal)
    await expect(ids.warm()).rejects.toMatchObject(refusal)
    await expect(pushSchemas(topic.catalogue, { url: door.url, patienceMs: 100 })).rejects.toMatchObject(refusal)
    await door.open()
    expect(await ids.findId(ref)).toBe(patient.idOf(ref))
  })

  test('that was not given a schema is named with what to do, and asked again', async () => {
    await using topic = await fresh()
    const ids = registrySchemas({ url, catalogue: topic.catalogue })
    const refusal = { code: 'SCHEMA', message: expect.stringMatching(`${topic.subject}.*weft schemas push`) }
    await expect(ids.warm()).rejects.toMatchObject(refusal)
    await expect(ids.findId({ subject: topic.subject, version: 1 })).rejects.toMatchObject({
      ...refusal,
      retryable: true,
    })
    await expect(ids.findId({ subject: 'nobody', version: 1 })).rejects.toMatchObject({
      code: 'SCHEMA',
      retryable: false,
    })
    await pushSchemas(topic.catalogue, { url })
    await ids.warm()
    expect(ids.idOf({ subject: topic.subject, version: 1 })).toBeGreaterThan(0)
  })

  test('is told who asks, by name and password or by token', async () => {
    await using topic = await fresh()
    await using door = await doorTo(url)
    door.authorization = `Basic ${Buffer.from('weft:se:cret').toString('base64')}`
    await expect(pushSchemas(topic.catalogue, { url: door.url })).rejects.toMatchObject({ code: 'DENIED' })
    const credentials = { user: 'weft', password: 'se:cret' }
    expect(await pushSchemas(topic.catalogue, { url: door.url, credentials })).toMatchObject([{ action: 'registered' }])
    door.authorization = 'Bearer a-token'
    await expect(registrySchemas({ url: door.url, credentials }).reach()).rejects.toMatchObject({ code: 'DENIED' })
    await registrySchemas({ url: door.url, credentials: { token: 'a-token' }, catalogue: topic.catalogue }).warm()
  })

  test('is told from what is none', async () => {
    const elsewhere = registrySchemas({ url: new URL('/', url).href })
    await expect(elsewhere.reach()).rejects.toMatchObject({ code: 'INVALID', message: expect.stringContaining('API') })
    for (const wrong of ['localhost:8081', 'ftp://localhost', 'http://user:secret@localhost:8081'])
      expect(() => registrySchemas({ url: wrong })).toThrow(expect.objectContaining({ code: 'INVALID' }))
    expect(() => registrySchemas({ url: 'http://user:secret@localhost:8081' })).not.toThrow(/secret/)
  })
}
