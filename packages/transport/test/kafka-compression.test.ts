import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { type KafkaServer, kafkaForTests, kafkaTool } from '@weft/local/for-tests'
import { describe, expect, inject, test } from 'vitest'
import { bodyOf, contents, message, until } from '../src/conformance/observe.ts'
import { COMPRESSIONS, codecOf } from '../src/kafka/compression.ts'
import type { Compression, Lane } from '../src/kafka/driver.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { DRIVERS } from './kafka-drivers.ts'

const server = await kafkaForTests(inject('servers'))

/** Several of Snappy's and LZ4's blocks long, and of some variety. */
const sent = Array.from({ length: 300 }, (_, i) => message('k', `${i} ${crypto.randomUUID()} ${'again '.repeat(150)}`))

const cases = ({ port, logs }: KafkaServer) => {
  const url = (driver: string, compression: Compression = 'none') =>
    `kafka://127.0.0.1:${port}?driver=${driver}&compression=${compression}`

  /** In which compression the log holds the topic's first batch. */
  const kept = async (topic: string) => {
    const log = await readFile(path.join(logs, `${topic}-0`, '00000000000000000000.log'))
    const number = log.readInt16BE(21) & 0b111
    return COMPRESSIONS.find(each => (codecOf(each)?.number ?? 0) === number)
  }

  async function topicOf(lane: Lane, configs: Record<string, string>) {
    const name = `packed-${crypto.randomUUID()}`
    const { controller, brokers } = await lane.metadata([])
    const broker = brokers.find(({ id }) => id === controller) ?? { id: 1, host: '127.0.0.1', port }
    // Of the messages' own time, which was long ago.
    const kept = { 'retention.ms': '-1', ...configs }
    await lane.createTopics(broker, [{ name, partitions: 1, configs: kept }])
    return name
  }

  describe.for(DRIVERS)('by %s', ([driver, make]) => {
    const open = () => make({ brokers: [{ host: '127.0.0.1', port }], clientId: 'weft-test', timeoutMs: 10_000 })

    test.for(COMPRESSIONS)('writes %s and reads it', async compression => {
      await using lanes = open()
      await using transport = await openKafka(url(driver, compression))
      const topic = { name: await topicOf(lanes.lane(), {}) }
      await until('the topic is there', async () =>
        (await transport.admin.topics()).some(each => each.topic.name === topic.name),
      )
      await transport.append(topic, sent)
      expect(await kept(topic.name)).toBe(compression)
      expect((await contents(transport, topic)).map(bodyOf)).toEqual(sent.map(bodyOf))
    })

    // The broker unpacks what it gets and packs it otherwise, with Kafka's own code.
    test.for([
      ['gzip', 'snappy'],
      ['snappy', 'lz4'],
      ['lz4', 'zstd'],
      ['zstd', 'gzip'],
    ] as const)('writes %s as Kafka reads it, and reads %s as Kafka writes it', async ([written, read]) => {
      await using lanes = open()
      await using transport = await openKafka(url(driver, written))
      const topic = { name: await topicOf(lanes.lane(), { 'compression.type': read }) }
      await until('the topic is there', async () =>
        (await transport.admin.topics()).some(each => each.topic.name === topic.name),
      )
      await transport.append(topic, sent)
      expect(await kept(topic.name)).toBe(read)
      expect((await contents(transport, topic)).map(bodyOf)).toEqual(sent.map(bodyOf))
    })
  })

  test('writes what Kafka’s own consumer prints, whatever the driver and the compression', async () => {
    const topic = { name: `packed-${crypto.randomUUID()}` }
    const all: string[] = []
    for (const [driver] of DRIVERS)
      for (const compression of COMPRESSIONS) {
        await using transport = await openKafka(url(driver, compression))
        await transport.admin.ensure([{ topic, partitions: 1 }])
        const few = [1, 2, 3].map(i => message('k', `${driver} ${compression} ${i} ${'again '.repeat(100)}`))
        await transport.append(topic, few)
        all.push(...few.map(bodyOf))
      }
    const asked = ['--bootstrap-server', `127.0.0.1:${port}`, '--topic', topic.name, '--from-beginning']
    const until = ['--max-messages', String(all.length), '--timeout-ms', '20000']
    const printed = await kafkaTool('org.apache.kafka.tools.consumer.ConsoleConsumer', ...asked, ...until)
    expect(printed.split('\n')).toEqual([...all, ''])
  })
}

if (server) describe('compression on kafka', () => cases(server))
else test.skip('compression on kafka: not run here, see the last lines', () => {})
