import { setTimeout as pause } from 'node:timers/promises'
import { DEMO_KEYS } from '@weft/local'
import type { Catalogue } from '@weft/schema'
import { HEADERS, header, type Transport } from '@weft/transport'
import { Weft } from '../spawned.ts'
import { type Random, randomOf } from './random.ts'
import { shop, type Told } from './shopper.ts'
import { Supervised } from './supervised.ts'

export const SECRET = 'a-secret-of-at-least-thirty-two-bytes'
export const RULES = `rules:
  - { name: busy, kind: count, events: [page_view], count: 3, within: 2s }
  - { name: likely, kind: threshold, raise: 0.06, clear: 0.04, severity: info }
  - { name: quiet, kind: silence, after: [session_start], expect: [page_view], within: 1s, severity: critical }
`

/** Starts services over a log, as processes of their own that are started again when they are killed. */
export function starter(folder: string, log: string) {
  const env = {
    LOG_LEVEL: 'error',
    WEFT_LOG: log,
    WEFT_WRITE_KEYS: Object.entries(DEMO_KEYS)
      .map(([tenant, key]) => `${key}=${tenant}`)
      .join(','),
    WEFT_JWT_SECRET: SECRET,
    WEFT_PIPELINE_TICK_MS: '250',
    ...Object.fromEntries(
      ['GATEWAY_PORT', 'GATEWAY_HTTP_PORT', 'ALERTS_PORT', 'PIPELINE_OPS_PORT'].map(port => [`WEFT_${port}`, '0']),
    ),
  }
  return (name: string, more: Readonly<Record<string, string>> = {}) =>
    new Supervised(name, () => new Weft(['run', name, '--json'], { cwd: folder, env: { ...env, ...more } }))
}

/** Six of them, of all tenants, until the signal aborts and what they began is sent to its end. */
export function shoppers(
  url: () => string | undefined,
  random: Random,
  told: Told,
  signal: AbortSignal,
  onLost: () => void,
) {
  const keys = Object.values(DEMO_KEYS)
  return Array.from({ length: 6 }, (_, n) => {
    const key = keys[n % keys.length] as string
    return shop({ name: `shopper-${n}`, key, url, random: randomOf(random.between(0, 2 ** 30)), told, signal, onLost })
  })
}

/** Lets the clock of every partition pass the end of this minute and its grace, and waits until all is processed. */
export async function drained(transport: Transport, catalogue: Catalogue): Promise<void> {
  const raw = { name: 'events.raw.v1' }
  const tick = Date.now() + 100_000
  const message = catalogue.codec('events.raw.v1').message(
    {
      event_id: '',
      store_id: '',
      user_id: null,
      session_id: null,
      type: 'weft.tick',
      payload: '{}',
      sent_at: tick,
      received_at: tick,
      idempotency_key: null,
      user_agent: null,
      referrer: null,
    },
    { time: tick, headers: [header(HEADERS.tick, String(tick))] },
  )
  const { partitions } = await transport.admin.describe(raw)
  for (let partition = 0; partition < partitions; partition++) await transport.append(raw, [message], { partition })
  await processed(transport)
}

/** Waits until groups have nothing left to do, one after the other. */
export async function processed(transport: Transport, groups = ['weft.ingest', 'weft.signal']): Promise<void> {
  const isBehind = async (group: string) => {
    const lags = (await transport.admin.groups()).filter(each => each.group === group)
    return lags.length === 0 || lags.some(({ lag }) => lag > 0)
  }
  for (const group of groups) while (await isBehind(group)) await pause(20)
}
