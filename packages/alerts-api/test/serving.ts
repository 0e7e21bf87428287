import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuth, type Scope, signToken } from '@weft/auth'
import { type Catalogue, type Draft, loadCatalogue } from '@weft/schema'
import { Health } from '@weft/telemetry'
import { HEADERS, header, openEmbedded, type Transport } from '@weft/transport'
import { pino } from 'pino'
import { expect, onTestFinished } from 'vitest'
import { type AlertsApi, type AlertsApiOptions, startAlertsApi } from '../src/index.ts'

export const SECRET = 'a secret of more than thirty-two bytes for tests'
const TOPIC = { name: 'alerts.v1' }

/** As expect.poll, for a machine that has other things to do. */
export const eventually = <T>(get: () => T | Promise<T>) => expect.poll(get, { timeout: 15_000 })

export const tokenFor = (tenant: string, { scopes = ['alerts:read'] as Scope[], expiresIn = 3600 } = {}) =>
  signToken(SECRET, { tenant, scopes, expiresIn })

export interface Serving {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly health: Health
  /** Starts a server over the same store; several may run. */
  start(options?: Partial<AlertsApiOptions>): Promise<AlertsApi>
  /** Removes what is older than the retention. */
  expire(): Promise<void>
  /** Appends alerts and returns their ids. */
  raise(...alerts: Partial<Draft<'alerts.v1'>>[]): Promise<string[]>
}

/** A store of its own with the catalogue's topics; everything is taken down after the test. */
export async function serving({ retentionMs }: { retentionMs?: number } = {}): Promise<Serving> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-alerts-'))
  const transport = await openEmbedded(`embedded:${directory}`)
  const catalogue = await loadCatalogue()
  const specs = catalogue.specs()
  const isShort = (name: string) => name === TOPIC.name && retentionMs !== undefined
  await transport.admin.ensure(specs.map(spec => (isShort(spec.topic.name) ? { ...spec, retentionMs } : spec)))
  const running: AlertsApi[] = []
  onTestFinished(async () => {
    await Promise.all(running.map(api => api[Symbol.asyncDispose]()))
    await transport[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })
  const health = new Health()
  const codec = catalogue.codec('alerts.v1')
  return {
    transport,
    catalogue,
    health,
    async start(options = {}) {
      const api = await startAlertsApi({
        transport,
        catalogue,
        auth: createAuth({ jwt: { secret: SECRET, clockTolerance: 0 } }),
        health,
        log: pino({ level: 'silent' }),
        port: 0,
        drainMs: 0,
        ...options,
      })
      running.push(api)
      return api
    },
    async expire() {
      const now = Date.now()
      while (Date.now() - now <= (retentionMs ?? 0)) await new Promise(setImmediate)
      await transport.maintain()
    },
    async raise(...alerts) {
      const messages = alerts.map(about => {
        const store_id = about.store_id ?? 'aurora'
        const alert = {
          alert_id: randomUUID(),
          store_id,
          entity: `${store_id}:${about.user_id ?? Math.floor(Math.random() * 100)}`,
          rule: 'high-intent',
          severity: 'warning' as const,
          state: 'raised' as const,
          message: 'Likely to buy',
          event_time: Date.now(),
          raised_at: Date.now(),
          ...about,
        }
        return {
          alert,
          message: codec.message(alert, { time: Date.now(), headers: [header(HEADERS.tenant, store_id)] }),
        }
      })
      await transport.append(
        TOPIC,
        messages.map(({ message }) => message),
      )
      return messages.map(({ alert }) => alert.alert_id)
    },
  }
}

/** `count` alerts about as many entities, so that they are spread over the partitions. */
export const some = (count: number, about: Partial<Draft<'alerts.v1'>> = {}): Partial<Draft<'alerts.v1'>>[] =>
  Array.from({ length: count }, () => about)
