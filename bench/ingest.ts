/**
 * Events over HTTP: the gateway on the embedded transport (authenticated, checked, deduplicated, durable) beside a bare
 * Fastify route that parses the same JSON and forgets it. The server has one core, the load generator the other.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadCatalogue } from '@weft/schema'
import { open } from '@weft/transport'
import Fastify from 'fastify'
import { asked, gatewayUnder, measured } from './ingest-load.ts'
import { type Figures, sideBySide } from './side-by-side.ts'

const { shape, title, args } = asked(process.argv, 1_000)

async function bare(): Promise<Figures> {
  const app = Fastify({ bodyLimit: 4 << 20 })
  app.post('/v1/events', async (request, reply) => {
    const events = [request.body].flat() as { event_id: string }[]
    return reply.code(202).send({ results: events.map(({ event_id }) => ({ event_id, status: 'accepted' })) })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const { figures } = await measured(port, shape)
  await app.close()
  return figures
}

async function weft(): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const catalogue = await loadCatalogue()
  const transport = await open(`embedded:${join(directory, 'store')}`)
  await transport.admin.ensure(catalogue.specs())
  const { figures } = await gatewayUnder(shape, transport, catalogue, directory)
  await transport[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
  return figures
}

await sideBySide({
  file: fileURLToPath(import.meta.url),
  args,
  title: `Events over HTTP, ${title}, server on one core`,
  contenders: { 'bare Fastify route': bare, 'weft gateway': weft },
  compare: ['requests/s', 'events/s'],
  cores: '0',
  // As `npm start` sets it; the bare route has it too.
  flags: ['--max-semi-space-size=64'],
})
