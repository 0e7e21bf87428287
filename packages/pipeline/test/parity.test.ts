import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import { DEMO_KEYS, eventsOf, type ShopEvent, sessions, TENANTS } from '@weft/local'
import { type Catalogue, defaultCatalogueDir, type Events, loadCatalogue } from '@weft/schema'
import { HEADERS, headerOf, open, type Transport } from '@weft/transport'
import { expect, it } from 'vitest'
import { startPipeline } from '../src/pipeline.ts'
import { loadScorer } from '../src/scorer.ts'

const BATCH = 1_000
/** Every so many batches one is sent twice, as by a client that got no answer. */
const REPEATED = 40
const MOST_MS = 540_000

it(
  'all 12,330 sessions, sent through the gateway, end with the features and the score of their rows',
  async () => {
    const all = sessions()
    const directory = await mkdtemp(join(tmpdir(), 'weft-parity-'))
    try {
      await using transport = await open(`embedded:${join(directory, 'log')}`)
      const catalogue = await loadCatalogue(defaultCatalogueDir)
      await using scorer = await loadScorer()
      await using pipeline = await startPipeline({ transport, catalogue, scorer })
      const auth = createAuth({
        writeKeys: Object.fromEntries(TENANTS.map(tenant => [DEMO_KEYS[tenant] as string, tenant])),
      })
      await using gateway = await startGateway({
        transport,
        catalogue,
        auth,
        directory: join(directory, 'gateway'),
        http: { port: 0 },
        https: false,
      })

      const ends = Promise.all([
        atSessionEnd(transport, catalogue, 'features.stream.v1', all.length),
        atSessionEnd(transport, catalogue, 'signals.scores.v1', all.length),
      ])
      // A task that cannot go on rejects `done`, long before the time for the test is up.
      const sending = Promise.all(TENANTS.map(tenant => send(gateway.http as string, tenant)))
      const ended = pipeline.done.then(() => Promise.reject(new Error('the pipeline has ended')))
      const [[features, scores], sent] = await Promise.race([Promise.all([ends, sending]), ended])

      const events = sent.reduce((sum, count) => sum + count, 0)
      expect([features.records, scores.records]).toEqual([events, events])
      const expected = await expectedScores()
      expect(expected).toHaveLength(all.length)
      for (const { row, views, dwellMs, specialDay, month, weekend, visitor, trafficSource } of all) {
        expect(features.ends.get(`session-${row}`)?.features, `row ${row}`).toMatchObject({
          administrative_pages: views.administrative,
          administrative_seconds: dwellMs.administrative / 1_000,
          informational_pages: views.informational,
          informational_seconds: dwellMs.informational / 1_000,
          product_pages: views.product,
          product_seconds: dwellMs.product / 1_000,
          special_day: specialDay,
          month,
          weekend: Number(weekend),
          returning: Number(visitor === 'returning'),
          traffic_source: trafficSource,
        })
        const score = scores.ends.get(`session-${row}`)?.score ?? Number.NaN
        expect(Math.abs(score - (expected[row] as number)), `row ${row}`).toBeLessThan(1e-5)
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  },
  MOST_MS,
)

/** Sends the tenant's sessions, overlapping as they would, in batches of NDJSON; resolves to how many events they were. */
async function send(url: string, tenant: string): Promise<number> {
  const events = sessions()
    .filter(session => session.tenant === tenant)
    .flatMap(session => eventsOf(session, session.row * 5_000))
    .sort((a, b) => (a.sent_at < b.sent_at ? -1 : a.sent_at > b.sent_at ? 1 : 0))
  for (let at = 0; at < events.length; at += BATCH) {
    const batch = events.slice(at, at + BATCH)
    await post(url, tenant, batch, 'accepted')
    if ((at / BATCH) % REPEATED === 0) await post(url, tenant, batch, 'duplicate')
  }
  return events.length
}

async function post(url: string, tenant: string, batch: readonly ShopEvent[], status: string): Promise<void> {
  const sent_at = new Date().toISOString()
  const response = await fetch(new URL('/v1/events', url), {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${DEMO_KEYS[tenant]}` },
    body: batch.map(event => JSON.stringify({ ...event, sent_at })).join('\n'),
  })
  const answer = (await response.json()) as { results: { event_id: string; status: string }[] }
  expect(response.status, JSON.stringify(answer)).toBe(202)
  const wrong = answer.results.filter(
    (result, index) => result.status !== status || result.event_id !== batch[index]?.event_id,
  )
  expect(wrong).toEqual([])
  expect(answer.results).toHaveLength(batch.length)
}

/** Reads until `count` sessions have ended: what the topic says at each end, and how many records there were in all. */
async function atSessionEnd<Topic extends 'features.stream.v1' | 'signals.scores.v1'>(
  transport: Transport,
  catalogue: Catalogue,
  topic: Topic,
  count: number,
): Promise<{ ends: Map<string, Events[Topic]>; records: number }> {
  const codec = catalogue.codec(topic)
  const ends = new Map<string, Events[Topic]>()
  let records = 0
  for await (const batch of transport.read({ name: topic }, { from: 'earliest' })) {
    for (const message of batch) {
      if (headerOf(message, HEADERS.tick)) continue
      records++
      const value = codec.decode(message) as Events[Topic]
      if (value.event_type !== 'session_end') continue
      expect(ends.has(value.session_id as string), `${value.session_id} ends twice`).toBe(false)
      ends.set(value.session_id as string, value)
    }
    if (ends.size === count) break
  }
  return { ends, records }
}

async function expectedScores(): Promise<number[]> {
  const file = gunzipSync(await readFile(new URL('../model/expected-scores.csv.gz', import.meta.url))).toString()
  return file
    .trimEnd()
    .split('\n')
    .slice(1)
    .map(line => Number(line.split(',')[1]))
}
