import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import { loadCatalogue } from '@weft/schema'
import { open, type Transport } from '@weft/transport'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { DEMO_KEYS, eventsOf, mixed, play, sessions } from '../index.ts'

const some = mixed(sessions()).slice(0, 60)
const atOnce = { speed: Number.POSITIVE_INFINITY, rate: Number.POSITIVE_INFINITY, rounds: 1, sessions: some }
const cleanUp = new AsyncDisposableStack()
let transport: Transport
let gateway: Awaited<ReturnType<typeof startGateway>>
let catalogue: Awaited<ReturnType<typeof loadCatalogue>>

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-play-'))
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }))
  transport = cleanUp.use(await open(`embedded:${join(directory, 'log')}`))
  catalogue = await loadCatalogue()
  await transport.admin.ensure(catalogue.specs())
  gateway = cleanUp.use(
    await startGateway({
      transport,
      catalogue,
      auth: createAuth({
        writeKeys: Object.fromEntries(Object.entries(DEMO_KEYS).map(([tenant, key]) => [key, tenant])),
      }),
      directory: join(directory, 'gateway'),
      http: { port: 0 },
      https: { port: 0 },
    }),
  )
})
afterAll(() => cleanUp.disposeAsync())

/** Ids in the log of one run, by session. */
async function logged(run: string, count: number): Promise<Map<string, string[]>> {
  const codec = catalogue.codec('events.raw.v1')
  const ids = new Map<string, string[]>()
  let seen = 0
  for await (const batch of transport.read({ name: 'events.raw.v1' }, { from: 'earliest' })) {
    for (const message of batch) {
      const { event_id, session_id } = codec.decode(message)
      if (!event_id.endsWith(`-${run}`)) continue
      ids.set(session_id as string, [...(ids.get(session_id as string) ?? []), event_id])
      seen++
    }
    if (seen >= count) break
  }
  return ids
}

const expected = (run: string) =>
  new Map(
    some.map(session => eventsOf(session, 0, run)).map(events => [events[0]?.session_id, events.map(e => e.event_id)]),
  )
const sizeOf = (run: string) => [...expected(run).values()].flat().length

it('what is played over HTTPS is in the log once and in order, though answers get lost on the way', async () => {
  let chunks = 0
  let cut = 0
  const lossy = createServer(client => {
    const server = connect(Number(new URL(gateway.https as string).port), '127.0.0.1')
    client.on('error', () => server.destroy()).on('close', () => server.destroy())
    server.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.pipe(server)
    server.on('data', chunk => {
      if (++chunks % 50 === 0) {
        cut++
        client.destroy()
      } else client.write(chunk)
    })
  })
  await new Promise<void>(resolve => lossy.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    lossy.close()
  })
  const url = `https://localhost:${(lossy.address() as AddressInfo).port}`
  const played = await play({ urls: [url], ca: gateway.certificate as string, ...atOnce, run: 'lossy' })
  expect(cut).toBeGreaterThan(10)
  expect(played).toEqual({ events: sizeOf('lossy'), sessions: some.length })
  expect(await logged('lossy', sizeOf('lossy'))).toEqual(expected('lossy'))
})

it('a certificate that nobody vouches for ends it with a clear sentence', async () => {
  await expect(play({ urls: [gateway.https as string], ...atOnce, run: 'untrusted' })).rejects.toThrow(
    /the certificate of https:\/\/127\.0\.0\.1:\d+ is not trusted/,
  )
})
