/** Reading 1 KiB records from the beginning, read committed, beside @platformatic/kafka's own consumer stream. */
import { fileURLToPath } from 'node:url'
import { Consumer, MessagesStreamModes } from '@platformatic/kafka'
import { bytes } from '@weft/transport'
import { address, check, fill, onKafka, openKafka, PARTITIONS } from './kafka-broker.ts'
import type { Figures } from './side-by-side.ts'

const [RECORDS, WARM] = [600_000, 100_000]
const topic = { name: 'records' }
const value = new Uint8Array(1024).fill(120)

async function prepare(): Promise<void> {
  await using transport = await openKafka()
  await transport.admin.ensure([{ topic, partitions: PARTITIONS }])
  function* records() {
    for (let i = 0; i < RECORDS; i++) yield { key: bytes(`key-${i % 64}`), value, time: 1 }
  }
  await fill(transport, topic, records())
}

/** Counts records as they come, and their bytes, so that each was looked at. */
function counter() {
  let [seen, size, began, cpu] = [0, 0, 0, process.cpuUsage()]
  return {
    count(body: Uint8Array | null | undefined): boolean {
      size += body?.length ?? 0
      if (++seen === WARM) [began, cpu] = [performance.now(), process.cpuUsage()]
      return seen === RECORDS
    },
    figures(): Figures {
      const rate = ((RECORDS - WARM) * 1_000) / (performance.now() - began)
      const { user, system } = process.cpuUsage(cpu)
      check('records read', seen, RECORDS)
      check('bytes read', size, RECORDS * value.length)
      return { 'records/s': rate, 'CPU µs/record': (user + system) / (RECORDS - WARM) }
    },
  }
}

async function platformatic(): Promise<Figures> {
  const consumer = new Consumer({
    clientId: 'bench',
    groupId: `bench-${crypto.randomUUID()}`,
    bootstrapBrokers: [address()],
  })
  const stream = await consumer.consume({
    topics: [topic.name],
    mode: MessagesStreamModes.EARLIEST,
    autocommit: false,
    maxWaitTime: 100,
    highWaterMark: 16_384,
  })
  const { count, figures } = counter()
  const { promise, resolve } = Promise.withResolvers<Figures>()
  stream.on('data', message => {
    if (count(message.value)) resolve(figures())
  })
  const seen = await promise
  await stream.close()
  await consumer.close()
  return seen
}

async function weft(): Promise<Figures> {
  await using transport = await openKafka()
  const { end } = await transport.admin.describe(topic)
  const { count, figures } = counter()
  for await (const batch of transport.read(topic, { from: 'earliest', to: end }))
    for (const { value } of batch) count(value)
  return figures()
}

await onKafka(
  {
    file: fileURLToPath(import.meta.url),
    title: `Reading ${RECORDS.toLocaleString('en-US')} records of 1 KiB from ${PARTITIONS} partitions of Kafka, client and broker on a core each`,
    contenders: { 'bare @platformatic/kafka': platformatic, 'weft kafka': weft },
    compare: ['records/s'],
  },
  prepare,
)
