/**
 * Appends of 1 KiB records, acknowledged by all replicas and idempotent, beside @platformatic/kafka's own producer and
 * kafkajs: batches of 1,000 records over 12 partitions, five at once.
 */
import { fileURLToPath } from 'node:url'
import { Producer } from '@platformatic/kafka'
import { bytes } from '@weft/transport'
import { Kafka, logLevel } from 'kafkajs'
import { address, check, freshTopic, held, onKafka, openKafka } from './kafka-broker.ts'
import type { Figures } from './side-by-side.ts'

const [BATCH, AT_ONCE, SECONDS] = [1_000, 5, 6]
const value = Buffer.alloc(1024, 'x')
const keys = Array.from({ length: 64 }, (_, i) => Buffer.from(`key-${i}`))

/** Keeps five batches on their way, for two seconds to warm up and six that count; then looks whether all are there. */
async function timed(send: (topic: string) => () => Promise<unknown>): Promise<Figures> {
  await using transport = await openKafka()
  const topic = await freshTopic(transport, 'append')
  const once = send(topic.name)
  let sent = 0
  const until = async (end: number): Promise<Figures> => {
    const [before, from, cpu] = [sent, performance.now(), process.cpuUsage()]
    const lane = async () => {
      while (performance.now() < end) {
        await once()
        sent += BATCH
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    const { user, system } = process.cpuUsage(cpu)
    const records = sent - before
    return {
      'records/s': (records * 1_000) / (performance.now() - from),
      'CPU µs/record': (user + system) / records,
    }
  }
  await until(performance.now() + 2_000)
  const figures = await until(performance.now() + SECONDS * 1_000)
  check('records in the topic', await held(transport, topic), sent)
  return figures
}

async function platformatic(): Promise<Figures> {
  const producer = new Producer({ clientId: 'bench', bootstrapBrokers: [address()], idempotent: true, acks: -1 })
  const messages = (topic: string) =>
    Array.from({ length: BATCH }, (_, i) => ({ topic, key: keys[i % 64] as Buffer, value }))
  const figures = await timed(topic => {
    const batch = messages(topic)
    return () => producer.send({ messages: batch })
  })
  await producer.close()
  return figures
}

async function kafkajs(): Promise<Figures> {
  const producer = new Kafka({ clientId: 'bench', brokers: [address()], logLevel: logLevel.NOTHING }).producer({
    idempotent: true,
    maxInFlightRequests: AT_ONCE,
  })
  await producer.connect()
  const messages = Array.from({ length: BATCH }, (_, i) => ({ key: keys[i % 64] as Buffer, value }))
  const figures = await timed(topic => () => producer.send({ topic, acks: -1, messages }))
  await producer.disconnect()
  return figures
}

async function weft(): Promise<Figures> {
  await using transport = await openKafka()
  const batch = Array.from({ length: BATCH }, (_, i) => ({ key: bytes(`key-${i % 64}`), value, time: 1 }))
  return await timed(name => () => transport.append({ name }, batch))
}

await onKafka({
  file: fileURLToPath(import.meta.url),
  title: `Appends to Kafka, acks=all and idempotent, 1 KiB, batches of ${BATCH}, ${AT_ONCE} at once, client and broker on a core each`,
  contenders: { 'bare @platformatic/kafka': platformatic, 'bare kafkajs': kafkajs, 'weft kafka': weft },
  compare: ['records/s'],
})
