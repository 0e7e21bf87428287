import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { kafkaForTests, Missing, orNotRun, pythonWith, registryForTests } from '@weft/local/for-tests'
import { bytes, HEADERS, header, type Message, open, type Topic } from '@weft/transport'
import fc from 'fast-check'
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { type AvroSchema, type Events, loadCatalogue, pushSchemas, registrySchemas } from '../src/index.ts'
import { anyOf } from './arbitrary.ts'

const here = fileURLToPath(new URL('clients-of-others/', import.meta.url))
const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))

const [kafka, registry] = [await kafkaForTests(inject('servers')), await registryForTests(inject('servers'))]
const python = await orNotRun('Python clients against our topics', () => pythonWith(`${here}requirements.txt`))
const kcat = await orNotRun('kcat against our topics', async () => {
  if (spawnSync('kcat', ['-V']).status !== 0) throw new Missing('there is no kcat: install kcat')
  return 'kcat'
})

if (kafka && registry && python) describe('clients of others', () => cases(kafka.port, kafka.url, registry.url, python))
else test.skip('clients of others: not run here, see the last lines', () => {})

interface Read {
  readonly topic: string
  readonly id: number | null
  readonly value: unknown
  readonly key?: string | null
  readonly headers?: readonly (readonly [string, string])[]
}

interface Sent {
  readonly topic: string
  readonly id: number | null
  readonly value: unknown
  readonly key: string | null
  readonly headers: readonly (readonly [string, string])[]
}

function cases(port: number, url: string, registryUrl: string, binary: string) {
  // Other tests of the run have topics of the catalogue's names: these are a tenant's.
  const tenant = `others${crypto.randomUUID().slice(0, 8)}`
  const at = (name: string): Topic => ({ name, tenant })
  const nameInKafka = (name: string) => `_tenant.${tenant}..${name}`
  const sent: Sent[] = []
  let names: readonly (keyof Events)[] = []

  beforeAll(async () => {
    const catalogue = await loadCatalogue()
    names = [...catalogue.topics.keys()] as (keyof Events)[]
    await pushSchemas(catalogue, { url: registryUrl })
    const ids = registrySchemas({ url: registryUrl, catalogue })
    await using log = await open(url, { schemas: ids })
    await log.admin.ensure(names.map(name => ({ topic: at(name), partitions: 2 })))
    for (const name of names) {
      const { avro, schema } = catalogue.topics.get(name) as NonNullable<ReturnType<typeof catalogue.topics.get>>
      const codec = catalogue.codec(name)
      const values = fc.sample(anyOf(avro, { instants }), { seed, numRuns: 8 }) as never[]
      const messages = values.map(
        (value, time): Message => codec.message(value, { time, headers: [header('x', name), header('x', 'Grüße')] }),
      )
      // One that belongs to no key, as ticks do, and one that forgets its key.
      const tick = { ...(messages[0] as Message), headers: [header(HEADERS.tick, '1')] }
      await log.append(at(name), [...messages.slice(1), { key: bytes('k'), value: null, time: 1 }])
      await log.append(at(name), [{ value: tick.value, schema, time: 1, headers: tick.headers }], { partition: 1 })
      const id = await ids.findId(schema)
      const note = (message: Message, value: unknown) =>
        sent.push({
          topic: nameInKafka(name),
          id: message.value === null ? null : id,
          value,
          key: message.key ? hex(message.key) : null,
          headers: [...(message.headers ?? []), header('weft-time', String(message.time))].map(([name, content]) => [
            name,
            hex(content),
          ]),
        })
      for (const [i, message] of messages.entries()) if (i > 0) note(message, tagged(avro, values[i]))
      note({ ...tick, key: undefined, time: 1 } as never, tagged(avro, values[0]))
      note({ key: bytes('k'), value: null, time: 1 }, null)
    }
  })

  async function read(by: 'consumer' | 'kcat'): Promise<Read[]> {
    const asked = {
      by,
      brokers: `127.0.0.1:${port}`,
      registry: registryUrl,
      topics: names.map(nameInKafka),
    }
    const child = spawn(binary, [`${here}read_topics.py`, JSON.stringify(asked)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
    })
    let [out, err] = ['', '']
    child.stdout.setEncoding('utf8').on('data', text => {
      out += text
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      err += text
    })
    const { promise, resolve } = Promise.withResolvers<number | null>()
    child.on('error', error => {
      err += error
      resolve(null)
    })
    child.on('close', resolve)
    expect(await promise, err).toBe(0)
    return out
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line))
  }

  const sorted = <T extends Pick<Read, 'topic' | 'value'>>(records: readonly T[]): T[] =>
    records.toSorted((a, b) => (order(a) < order(b) ? -1 : 1))
  const order = ({ topic, value }: Pick<Read, 'topic' | 'value'>) => topic + canonical(value)

  test('confluent-kafka with fastavro decodes every topic of the catalogue by the registry', async () => {
    expect(sorted(await read('consumer')), `seed ${seed}`).toEqual(sorted(sent))
  })

  if (kcat)
    test('kcat hands out every topic of the catalogue so that the registry’s schemas decode it', async () => {
      const bare = sent.map(({ topic, id, value }) => ({ topic, id, value }))
      expect(sorted(await read('kcat')), `seed ${seed}`).toEqual(sorted(bare))
    })
  else test.skip('kcat hands out every topic: not run here, see the last lines', () => {})
}

/** Python's datetime has the years 1 to 9999. */
const instants = fc.integer({ min: Date.parse('0001-01-02'), max: Date.parse('9999-12-30') })

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, each) =>
    each !== null && typeof each === 'object' && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  )

/** A value as read_topics.py prints it. */
function tagged(schema: AvroSchema, value: unknown): unknown {
  if (Array.isArray(schema)) return tagged(branchOf(schema, value), value)
  const node = (typeof schema === 'string' ? { type: schema } : schema) as Exclude<
    AvroSchema,
    string | readonly AvroSchema[]
  >
  if (value instanceof Uint8Array) return { bytes: hex(value) }
  if (Array.isArray(value)) return value.map(each => tagged(node.items as AvroSchema, each))
  if (node.logicalType === 'timestamp-millis') return { ms: value }
  if (node.type === 'double') {
    const eight = Buffer.alloc(8)
    eight.writeDoubleBE(value as number)
    return { double: hex(eight) }
  }
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value)
  if (node.values)
    return Object.fromEntries(entries.map(([name, each]) => [name, tagged(node.values as AvroSchema, each)]))
  const types = new Map(node.fields?.map(({ name, type }) => [name, type]))
  return Object.fromEntries(entries.map(([name, each]) => [name, tagged(types.get(name) as AvroSchema, each)]))
}

/** All unions of the catalogue are of null and one other. */
const branchOf = (union: readonly AvroSchema[], value: unknown): AvroSchema =>
  union.find(branch => (branch === 'null') === (value === null)) as AvroSchema
