import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KafkaServer } from '@weft/local/for-tests'
import type { Cluster } from '../src/conformance/index.ts'
import { until } from '../src/conformance/observe.ts'
import type { Broker, Lane } from '../src/kafka/driver.ts'
import type { openKafka } from '../src/kafka/kafka.ts'
import { nameOfTopic } from '../src/kafka/names.ts'
import { platformatic } from '../src/kafka/platformatic/platformatic.ts'
import type { Topic } from '../src/transport.ts'
import { openRoad } from './kafka-road.ts'

/** The broker that the test run has started, as the conformance suite sees it. */
export async function kafkaCluster(server: KafkaServer, open: typeof openKafka, driverName: string): Promise<Cluster> {
  const url = `kafka://127.0.0.1:${server.road.advertise}?driver=${driverName}&sessionMs=1500&patienceMs=300&transactionMs=2000`
  const broker = { id: 1, host: '127.0.0.1', port: server.port }
  const driver = platformatic({ brokers: [broker], clientId: 'weft-test', timeoutMs: 10_000 })
  const lane = driver.lane()
  const road = await openRoad(server.road.advertise, server.road.listen)
  return {
    url,
    sessionMs: 1_500,
    schemas: [
      { subject: 'orders', version: 1 },
      { subject: 'orders', version: 2 },
    ],
    open: options => open(url, options),
    failStorage: () => road.close(),
    healStorage: () => road.open(),
    shortRetentionMs: 2_000,
    expire: topic => expire(lane, broker, server.logs, topic),
    async [Symbol.asyncDispose]() {
      await driver[Symbol.asyncDispose]()
      await road.close()
    },
  }
}

/** Waits until retention and compaction have seen all that is in the topic now. */
async function expire(lane: Lane, broker: Broker, logs: string, topic: Topic): Promise<void> {
  const name = nameOfTopic(topic)
  const configs = (await lane.describeTopicConfigs([name], ['cleanup.policy'])).get(name)
  if (configs?.['cleanup.policy'] === 'compact') await compact(lane, broker, logs, name)
  // Retention goes through all logs in turn: when two topics of no use were emptied one after the other, a whole round
  // lies between them.
  else for (let round = 0; round < 2; round++) await emptied(lane, broker)
}

async function emptied(lane: Lane, broker: Broker): Promise<void> {
  const append = await canary(lane, broker)
  await until('the canary is taken', async () => (await append()) === undefined)
  await until('retention has emptied the canary', async () => {
    const [first] = await lane.listOffsets(broker, [{ topic: append.topic, partition: 0, time: -2n }])
    return first?.offset === 1n
  })
}

/** A topic whose messages may go at once, and how to append one to it: gives the error, if there is one. */
async function canary(lane: Lane, broker: Broker) {
  const topic = `canary-${crypto.randomUUID()}`
  const configs = { 'retention.ms': '1', 'message.timestamp.type': 'LogAppendTime' }
  await lane.createTopics(broker, [{ name: topic, partitions: 1, configs }])
  await until('the canary is there', async () => {
    const [found] = (await lane.metadata([topic])).topics
    return found?.error === undefined && found?.leaders[0] === broker.id
  })
  const append = async () => {
    const producer = await lane.initProducer(undefined, null, 60_000)
    const records = [{ key: null, value: Buffer.from('canary'), headers: [], timestamp: 0n }]
    const batches = [{ topic, partition: 0, sequence: 0, records }]
    return (await lane.produce(broker, { producer, batches, compression: 'none', timeoutMs: 5_000 }))[0]?.error
  }
  return Object.assign(append, { topic })
}

/**
 * Lets the log roll at its next record and gives it one that nobody sees, of a transaction that is taken back; then waits
 * until the cleaner has noted that it has cleaned up to there.
 */
async function compact(lane: Lane, broker: Broker, logs: string, name: string): Promise<void> {
  await lane.alterConfigs({ kind: 'topic', name }, { 'segment.ms': '1', 'min.cleanable.dirty.ratio': '0.0' })
  const { leaders } = (await lane.metadata([name])).topics[0] ?? { leaders: [] }
  for (const partition of leaders.keys()) {
    const id = `roll-${crypto.randomUUID()}`
    const coordinator = await lane.coordinator('transaction', id)
    const producer = await until('there is a producer', () =>
      lane.initProducer(coordinator, id, 10_000).catch(() => undefined),
    )
    await lane.addPartitions(coordinator, id, producer, [{ topic: name, partition }])
    const records = [{ key: Buffer.from('nobody'), value: Buffer.from(''), headers: [], timestamp: 0n }]
    const batches = [{ topic: name, partition, sequence: 0, records }]
    const request = { transactionalId: id, producer, batches, compression: 'none', timeoutMs: 5_000 } as const
    const [taken] = await lane.produce(broker, request)
    if (taken?.error) throw new Error(taken.error)
    await lane.endTransaction(coordinator, id, producer, false)
    await until(`${name} is compacted up to ${taken?.offset}`, async () => {
      const checkpoint = await readFile(join(logs, 'cleaner-offset-checkpoint'), 'utf8').catch(() => '')
      const line = checkpoint.split('\n').find(each => each.startsWith(`${name} ${partition} `))
      return line !== undefined && BigInt(line.split(' ')[2] ?? '-1') >= (taken?.offset ?? 0n)
    })
  }
}
