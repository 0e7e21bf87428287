import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { eventsOf, type Session, sessions } from '@weft/local'
import type { EventEnriched } from '@weft/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { drive } from '../src/driver.ts'
import { loadScorer, type Scorer } from '../src/scorer.ts'
import { features } from '../src/stages/features.ts'
import { score } from '../src/stages/score.ts'

const CHUNK = 500

/** All events of a session as the features stage gets them. */
function enriched(session: Session): EventEnriched[] {
  return eventsOf(session, Date.UTC(2026, 0, 1)).map(event => {
    const sent_at = Date.parse(event.sent_at)
    return {
      ...event,
      store_id: session.tenant,
      payload: JSON.stringify(event.payload),
      sent_at,
      received_at: sent_at,
      user_agent: null,
      referrer: null,
      validated_at: sent_at,
      validated_by: null,
      enrichments: {},
      enriched_at: sent_at,
      schema_version: '1',
    }
  })
}

describe('for each of the 12,330 sessions, when it ends', () => {
  const all = sessions()
  const featuresAt = new Map<string, Record<string, number>>()
  const scoreAt = new Map<string, number>()
  let scorer: Scorer
  let expected: string[]

  beforeAll(async () => {
    scorer = await loadScorer()
    const file = gunzipSync(await readFile(new URL('../model/expected-scores.csv.gz', import.meta.url))).toString()
    expected = file.trimEnd().split('\n').slice(1)
    for (let at = 0; at < all.length; at += CHUNK) {
      const driven = drive([features(), score(scorer)])
      // Interleaved, as they come: a session's events are far apart in the log.
      const events = all.slice(at, at + CHUNK).flatMap(enriched)
      await driven.feed(...events.sort((a, b) => a.sent_at - b.sent_at))
      for (const { session_id, event_type, features } of driven.written('features.stream.v1'))
        if (event_type === 'session_end') featuresAt.set(session_id as string, features)
      for (const { session_id, event_type, score } of driven.written('signals.scores.v1'))
        if (event_type === 'session_end') scoreAt.set(session_id as string, score)
    }
  }, 120_000)
  afterAll(() => scorer[Symbol.asyncDispose]())

  it('the features are the counts, milliseconds and circumstances of its row', () => {
    expect(featuresAt.size).toBe(12_330)
    for (const { row, views, dwellMs, specialDay, month, weekend, visitor, trafficSource } of all)
      expect(featuresAt.get(`session-${row}`), `row ${row}`).toMatchObject({
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
  })

  it('the score is the one that the training code gives its row, within 1e-5', () => {
    expect(expected).toHaveLength(12_330)
    for (const line of expected) {
      const [row, score] = line.split(',')
      const difference = Math.abs((scoreAt.get(`session-${row}`) ?? Number.NaN) - Number(score))
      expect(difference, `row ${row}`).toBeLessThan(1e-5)
    }
  })
})
