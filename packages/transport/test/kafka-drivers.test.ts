import { type KafkaServer, kafkaForTests } from '@weft/local/for-tests'
import { describe, expect, inject, test } from 'vitest'
import { until } from '../src/conformance/observe.ts'
import type { Address, Broker, Lane, Place, Producer } from '../src/kafka/driver.ts'
import { isFencing } from '../src/kafka/errors.ts'
import { DRIVERS } from './kafka-drivers.ts'
import { OLDEST, olderBroker, REDPANDA } from './kafka-versions.ts'

const server = await kafkaForTests(inject('servers'))

const TXN_OFFSET_COMMIT = 28
// A record of long ago would lie in a segment of its own.
const NOW = BigInt(Date.now())

const fresh = (kind: string) => `${kind}-${crypto.randomUUID().slice(0, 13)}`
const record = (value: string | null, headers: readonly (readonly [Uint8Array, Uint8Array])[] = []) => ({
  key: Buffer.from('k'),
  value: value === null ? null : Buffer.from(value),
  headers,
  timestamp: NOW,
})

/** Asks again while the broker makes its coordinators. */
const settled = <T>(ask: () => Promise<T>) =>
  until('the broker is ready', () =>
    ask().then(
      answer => [answer],
      () => undefined,
    ),
  ).then(([answer]) => answer as T)

async function topicOf(lane: Lane, broker: Broker, partitions = 1): Promise<string> {
  const topic = fresh('topic')
  expect(await lane.createTopics(broker, [{ name: topic, partitions, configs: { 'retention.ms': '-1' } }])).toEqual([
    { name: topic },
  ])
  const places = Array.from({ length: partitions }, (_, partition) => ({ topic, partition, time: -1n }))
  await until('its leaders answer', async () => {
    const [found] = (await lane.metadata([topic])).topics
    if (found?.error || found?.leaders.some(id => id !== broker.id)) return false
    const fetches = { places: places.map(each => ({ ...each, offset: 0n, maxBytes: 1 })), maxWaitMs: 0, maxBytes: 1 }
    return (await lane.fetch(broker, fetches)).every(({ error }) => error === undefined)
  })
  return topic
}

/** A broker answers for partitions in any order. */
const ordered = <P extends Place>(parts: readonly P[]): P[] => parts.toSorted((a, b) => a.partition - b.partition)

/** Every request of the port once, by way of `broker`, with what a transport relies on in its answer. */
async function tour(lane: Lane, { host, port }: Address): Promise<void> {
  const metadata = await lane.metadata([])
  expect(metadata).toMatchObject({ cluster: expect.stringMatching(/\S/), topics: [] })
  const broker: Broker = { id: metadata.controller, host, port }
  const topic = await topicOf(lane, broker, 2)
  const missing = fresh('missing')
  expect((await lane.metadata([missing])).topics).toMatchObject([
    { name: missing, error: 'UNKNOWN_TOPIC_OR_PARTITION' },
  ])
  expect((await lane.metadata(null)).topics.map(({ name }) => name)).toContain(topic)
  expect(await lane.createTopics(broker, [{ name: topic, partitions: 1, configs: {} }])).toMatchObject([
    { name: topic, error: 'TOPIC_ALREADY_EXISTS' },
  ])

  await lane.alterConfigs({ kind: 'topic', name: topic }, { 'max.message.bytes': '2000000' })
  const configured = { 'max.message.bytes': '2000000', 'retention.ms': '-1' }
  await until('it is configured', async () => {
    const found = (await lane.describeTopicConfigs([topic], Object.keys(configured))).get(topic)
    return JSON.stringify(Object.entries(found ?? {}).sort()) === JSON.stringify(Object.entries(configured))
  })

  const group = fresh('group')
  for (const kind of ['group', 'transaction'] as const)
    expect(await settled(() => lane.coordinator(kind, group))).toMatchObject({ id: broker.id })
  const join = { group, member: '', sessionMs: 6_000, rebalanceMs: 6_000, protocol: 'p', metadata: Buffer.from('mine') }
  const joined = await settled(() => lane.joinGroup(broker, join))
  expect(joined).toMatchObject({ leader: joined.member, members: [{ id: joined.member }] })
  expect(Buffer.from(joined.members[0]?.metadata ?? []).toString()).toBe('mine')
  const member = { group, id: joined.member, generation: joined.generation }
  const assignment = await lane.syncGroup(broker, member, 'p', new Map([[member.id, Buffer.from('all')]]))
  expect(Buffer.from(assignment).toString()).toBe('all')
  await lane.heartbeat(broker, member)
  expect(await lane.listGroups(broker)).toContainEqual({ group, protocolType: 'consumer' })
  expect(await lane.describeGroups(broker, [group])).toMatchObject([
    { group, state: 'Stable', members: [{ id: member.id }] },
  ])

  const transactionalId = fresh('transaction')
  const producer = await settled(() => lane.initProducer(broker, transactionalId, 10_000))
  const places = [0, 1].map(partition => ({ topic, partition }))
  expect(ordered(await settled(() => lane.addPartitions(broker, transactionalId, producer, places)))).toEqual(places)
  const batches = places.map(place => ({ ...place, sequence: 0, records: [record('kept'), record(null)] }))
  const request = { transactionalId, producer, batches, compression: 'none', timeoutMs: 5_000 } as const
  expect(ordered(await lane.produce(broker, request))).toMatchObject(places.map(place => ({ ...place, offset: 0n })))
  await lane.addOffsets(broker, transactionalId, producer, group)
  const offsets = places.map((place, i) => ({ ...place, offset: BigInt(i + 7), metadata: `of ${i}` }))
  const committed = await settled(() =>
    lane.commitTransactionOffsets(broker, transactionalId, producer, member, offsets),
  )
  expect(ordered(committed)).toEqual(places)
  const ofGroup = async () => {
    const [found] = await lane.fetchOffsets(broker, [{ group, places }], true)
    return { ...found, offsets: ordered(found?.offsets ?? []) }
  }
  expect(await ofGroup()).toMatchObject({
    group,
    offsets: places.map(place => ({ ...place, error: 'UNSTABLE_OFFSET_COMMIT' })),
  })
  await lane.endTransaction(broker, transactionalId, producer, true)
  const read = await until('what was committed is stable', async () => {
    const [found] = await lane.fetchOffsets(broker, [{ group }], true)
    return found?.offsets.length === 2 && found.offsets.every(({ error }) => !error) ? found.offsets : undefined
  })
  expect(read).toEqual(expect.arrayContaining(offsets))
  const later = offsets.map(each => ({ ...each, offset: each.offset + 1n }))
  expect(ordered(await lane.commitOffsets(broker, member, later))).toEqual(places)
  expect(await ofGroup()).toEqual({ group, offsets: later })

  const ends = await lane.listOffsets(
    broker,
    places.map(place => ({ ...place, time: -1n })),
  )
  expect(ordered(ends)).toEqual(places.map(place => ({ ...place, offset: 3n })))
  const asked = { places: [{ topic, partition: 1, offset: 0n, maxBytes: 10_000 }], maxWaitMs: 1_000, maxBytes: 10_000 }
  const [fetched] = await lane.fetch(broker, asked)
  expect(fetched).toMatchObject({ topic, partition: 1, end: 3n, stable: 3n, first: 0n, aborted: [] })
  expect(fetched?.batches).toMatchObject([
    { first: 0n, last: 1n, producer: producer.id, transactional: true, records: [record('kept'), record(null)] },
    { first: 2n, last: 2n, control: 'commit' },
  ])
  await lane.leaveGroup(broker, member)
  await expect(lane.heartbeat(broker, member)).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER_ID' })
}

const cases = ({ port }: KafkaServer) => {
  describe.for(DRIVERS)('%s', ([, make]) => {
    const seed = { host: '127.0.0.1', port }
    const open = (brokers: readonly Address[] = [seed]) => make({ brokers, clientId: 'weft-test', timeoutMs: 10_000 })
    const brokerOf = async (lane: Lane): Promise<Broker> => ({ ...seed, id: (await lane.metadata([])).controller })

    test('asks the broker of this run all that a transport asks', async () => {
      await using driver = open()
      await tour(driver.lane(), seed)
    })

    test.for([
      ['Redpanda', REDPANDA],
      ['the oldest broker that is served', OLDEST],
    ] as const)('asks all of it in the versions of %s', async ([, newest]) => {
      await using broker = await olderBroker(port, newest)
      await using driver = open([{ host: '127.0.0.1', port: broker.port }])
      await tour(driver.lane(), { host: '127.0.0.1', port: broker.port })
      for (const [key, version] of broker.asked)
        expect(version, `of request ${key}`).toBeLessThanOrEqual(newest.get(key) ?? 2)
    })

    test('says which request a broker is too old for', async () => {
      await using broker = await olderBroker(port, new Map([...OLDEST, [TXN_OFFSET_COMMIT, 2]]))
      const address = { host: '127.0.0.1', port: broker.port }
      await using driver = open([address])
      const lane = driver.lane()
      const asked = lane.commitTransactionOffsets(
        { id: 1, ...address },
        'none',
        { id: 1n, epoch: 0 },
        { group: 'none', id: '', generation: 1 },
        [],
      )
      await expect(asked).rejects.toMatchObject({
        code: 'UNSUPPORTED_VERSION',
        message: expect.stringMatching(/TxnOffsetCommit.* version 3 here.* versions 0 to 2 there/),
      })
    })

    test('begins the id of a producer anew: the one that had it before is fenced, by whatever name Kafka gives it', async () => {
      await using driver = open()
      const lane = driver.lane()
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker)
      const id = fresh('transaction')
      const places = [{ topic, partition: 0 }]
      const first = await settled(() => lane.initProducer(broker, id, 10_000))
      await settled(() => lane.addPartitions(broker, id, first, places))
      const second = await settled(() => lane.initProducer(broker, id, 10_000))
      expect(second).toEqual({ id: first.id, epoch: first.epoch + 2 })
      const fenced = async (work: Promise<unknown>) => {
        const error = await work.then(
          () => undefined,
          thrown => thrown,
        )
        expect(isFencing(error), String(error)).toBe(true)
        return error.code
      }
      expect(await fenced(lane.initProducer(broker, id, 10_000, first))).toBe('PRODUCER_FENCED')
      await fenced(lane.endTransaction(broker, id, first, true))
      await fenced(lane.addOffsets(broker, id, first, fresh('group')))
      const batches = [{ topic, partition: 0, sequence: 0, records: [record('late')] }]
      const late = { transactionalId: id, producer: first, batches, compression: 'none', timeoutMs: 5_000 } as const
      const [refused] = await lane.produce(broker, late)
      expect(refused?.error).toMatch(/INVALID_PRODUCER_EPOCH|PRODUCER_FENCED/)
      expect(await lane.initProducer(broker, id, 10_000, second)).toMatchObject({ id: second.id })
    })

    test('commits the offsets of a transaction that several calls at once have given', async () => {
      await using driver = open()
      const lane = driver.lane()
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker, 4)
      const [id, group] = [fresh('transaction'), fresh('group')]
      const producer: Producer = await settled(() => lane.initProducer(broker, id, 10_000))
      const member = { group, id: '', generation: -1 }
      const offsets = [0, 1, 2, 3].map(partition => ({ topic, partition, offset: 5n, metadata: '' }))
      await Promise.all(offsets.map(() => settled(() => lane.addOffsets(broker, id, producer, group))))
      await Promise.all(
        offsets.map(each => settled(() => lane.commitTransactionOffsets(broker, id, producer, member, [each]))),
      )
      await lane.endTransaction(broker, id, producer, true)
      await until('all four are committed', async () => {
        const [found] = await lane.fetchOffsets(broker, [{ group }], true)
        return found?.offsets.filter(({ offset, error }) => offset === 5n && !error).length === 4
      })
    })

    test('refuses the offsets of a member that was replaced', async () => {
      await using driver = open()
      const lane = driver.lane()
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker)
      const [id, group] = [fresh('transaction'), fresh('group')]
      const join = { group, member: '', sessionMs: 6_000, rebalanceMs: 6_000, protocol: 'p', metadata: Buffer.from('') }
      const { member, generation } = await settled(() => lane.joinGroup(broker, join))
      await lane.syncGroup(broker, { group, id: member, generation }, 'p', new Map())
      const producer = await settled(() => lane.initProducer(broker, id, 10_000))
      await settled(() => lane.addOffsets(broker, id, producer, group))
      const offsets = [{ topic, partition: 0, offset: 5n, metadata: '' }]
      const of = (given: object) =>
        lane.commitTransactionOffsets(broker, id, producer, { group, id: member, generation, ...given }, offsets)
      expect(await of({ generation: generation - 1 })).toMatchObject([{ error: 'ILLEGAL_GENERATION' }])
      expect(await of({ id: 'another' })).toMatchObject([{ error: 'UNKNOWN_MEMBER_ID' }])
      expect(await settled(() => of({}))).toEqual([{ topic, partition: 0 }])
      await lane.leaveGroup(broker, { group, id: member, generation })
    })

    test('commits what it is told to and nothing else: what was fetched stays uncommitted', async () => {
      await using driver = open()
      const lane = driver.lane()
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker)
      const group = fresh('group')
      const producer = await lane.initProducer(undefined, null, 10_000)
      const records = ['a', 'b', 'c'].map(value => record(value))
      const batches = [{ topic, partition: 0, sequence: 0, records }]
      await lane.produce(broker, { producer, batches, compression: 'none', timeoutMs: 5_000 })
      const join = { group, member: '', sessionMs: 6_000, rebalanceMs: 6_000, protocol: 'p', metadata: Buffer.from('') }
      const { member, generation } = await settled(() => lane.joinGroup(broker, join))
      await lane.syncGroup(broker, { group, id: member, generation }, 'p', new Map())
      const places = [{ topic, partition: 0, offset: 0n, maxBytes: 10_000 }]
      const [fetched] = await lane.fetch(broker, { places, maxWaitMs: 100, maxBytes: 10_000 })
      expect(fetched?.batches[0]?.records).toHaveLength(3)
      await lane.heartbeat(broker, { group, id: member, generation })
      await lane.leaveGroup(broker, { group, id: member, generation })
      expect(await lane.fetchOffsets(broker, [{ group, places }], true)).toMatchObject([{ offsets: [{ offset: -1n }] }])
    })

    test('fails what waits for an answer when the lane closes, and at once', async () => {
      await using driver = open()
      const lane = driver.lane()
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker)
      const places = [{ topic, partition: 0, offset: 0n, maxBytes: 10_000 }]
      const waiting = lane.fetch(broker, { places, maxWaitMs: 30_000, maxBytes: 10_000 })
      const outcome = expect(waiting).rejects.toMatchObject({ code: 'NETWORK' })
      // By the time that another has its answer, this one has been asked too.
      await driver.lane().metadata([])
      await lane[Symbol.asyncDispose]()
      await outcome
    })

    test('says NETWORK when no answer comes in time, and asks anew on another connection', async () => {
      await using driver = open()
      const lane = driver.lane({ timeoutMs: 300 })
      const broker = await brokerOf(lane)
      const topic = await topicOf(lane, broker)
      const places = [{ topic, partition: 0, offset: 0n, maxBytes: 10_000 }]
      const waiting = lane.fetch(broker, { places, maxWaitMs: 8_000, maxBytes: 10_000 })
      await expect(waiting).rejects.toMatchObject({ code: 'NETWORK' })
      const ends = await settled(() => lane.listOffsets(broker, [{ topic, partition: 0, time: -1n }]))
      expect(ends).toMatchObject([{ offset: 0n }])
    })
  })
}

if (server) describe('a driver of kafka', () => cases(server))
else test.skip('a driver of kafka: not run here, see the last lines', () => {})
