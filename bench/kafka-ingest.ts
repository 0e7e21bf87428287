/**
 * Events over HTTP into Kafka with acks=all: the gateway (authenticated, checked, deduplicated, encoded) beside a bare
 * Fastify route that parses the same JSON and hands it to @platformatic/kafka as text, all that has come meanwhile in one
 * send. The server has one core; the broker has the other, with the load generator.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Producer } from '@platformatic/kafka'
import { loadCatalogue } from '@weft/schema'
import { HEADERS } from '@weft/transport'
import Fastify from 'fastify'
import { asked, gatewayUnder, measured } from './ingest-load.ts'
import { address, check, freshTopic, held, onKafka, openKafka } from './kafka-broker.ts'
import type { Figures } from './side-by-side.ts'

const { shape, title, args } = asked(process.argv, 3_000)

interface Event {
  readonly event_id: string
  readonly session_id: string
}

/** Sends all that came while the last send was under way. */
function sender(producer: Producer<Buffer, Buffer, Buffer, Buffer>, topic: string) {
  let waiting: Event[] = []
  let next: Promise<unknown> | undefined
  let flying: Promise<unknown> = Promise.resolve()
  return (events: readonly Event[]): Promise<unknown> => {
    waiting.push(...events)
    next ??= flying.then(() => {
      const messages = waiting.map(event => ({
        topic,
        key: Buffer.from(event.session_id),
        value: Buffer.from(JSON.stringify(event)),
      }))
      ;[waiting, next] = [[], undefined]
      flying = producer.send({ messages })
      return flying
    })
    return next
  }
}

async function bare(): Promise<Figures> {
  await using transport = await openKafka()
  const topic = await freshTopic(transport, 'ingest')
  const producer = new Producer({ clientId: 'bench', bootstrapBrokers: [address()], idempotent: true, acks: -1 })
  const send = sender(producer, topic.name)
  const app = Fastify({ bodyLimit: 4 << 20 })
  app.post('/v1/events', async (request, reply) => {
    const events = [request.body].flat() as Event[]
    await send(events)
    return reply.code(202).send({ results: events.map(({ event_id }) => ({ event_id, status: 'accepted' })) })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { figures, accepted } = await measured((app.server.address() as AddressInfo).port, shape)
  await app.close()
  await producer.close()
  check('events in the topic', await held(transport, topic), accepted)
  return figures
}

async function weft(): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const catalogue = await loadCatalogue()
  await using transport = await openKafka()
  const raw = { name: 'events.raw.v1' }
  await transport.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === raw.name))
  const { end: before } = await transport.admin.describe(raw)
  const { figures, accepted } = await gatewayUnder(shape, transport, catalogue, directory)
  const { end } = await transport.admin.describe(raw)
  let events = 0
  // Beside events the gateway marks how far it has read.
  for await (const batch of transport.read(raw, { from: { after: before }, to: end }))
    for (const { headers = [] } of batch) if (!headers.some(([name]) => name === HEADERS.tick)) events++
  check('events in the topic', events, accepted)
  await rm(directory, { recursive: true })
  return figures
}

await onKafka({
  file: fileURLToPath(import.meta.url),
  args,
  title: `Events over HTTP into Kafka, acks=all, ${title}, server on one core`,
  contenders: { 'bare Fastify and producer': bare, 'weft gateway': weft },
  compare: ['requests/s', 'events/s'],
})
