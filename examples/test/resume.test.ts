import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startAlertsApi } from '@weft/alerts-api'
import { createAuth, signToken } from '@weft/auth'
import { loadCatalogue } from '@weft/schema'
import { Health } from '@weft/telemetry'
import { HEADERS, header, open } from '@weft/transport'
import { expect, onTestFinished, test } from 'vitest'

const SECRET = 'a secret of this test, long enough for HS256'

test('a client that resumes sees each alert once though the server goes away', { timeout: 60_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-example-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  await using transport = await open(`embedded:${directory}`)
  const catalogue = await loadCatalogue()
  await transport.admin.ensure(catalogue.specs())
  const auth = createAuth({ writeKeys: {}, jwt: { secret: SECRET } })
  const serve = (port: number) =>
    startAlertsApi({ transport, catalogue, auth, health: new Health(), port, drainMs: 50, retryMs: 50 })
  const codec = catalogue.codec('alerts.v1')
  const raise = (n: number) => {
    const alert = {
      alert_id: `alert-${n}`,
      store_id: 'aurora',
      entity: `aurora:u${n}`,
      rule: 'r',
      severity: 'info' as const,
    }
    const times = { event_time: n, raised_at: n }
    const value = { ...alert, ...times, state: 'raised' as const, message: 'm' }
    const headers = [header(HEADERS.tenant, 'aurora')]
    return transport.append({ name: 'alerts.v1' }, [codec.message(value, { time: n, headers })])
  }

  let api = await serve(0)
  const { port } = new URL(api.url)
  const token = await signToken(SECRET, { tenant: 'aurora', scopes: ['alerts:read'] })
  const program = fileURLToPath(new URL('../resume.ts', import.meta.url))
  const client = spawn(process.execPath, [program, api.url, token], { stdio: ['ignore', 'pipe', 'ignore'] })
  onTestFinished(() => void client.kill())
  let printed = ''
  const seen = () => [...printed.matchAll(/"alert_id":"(alert-\d+)"/g)].map(([, id]) => id)
  client.stdout.setEncoding('utf8').on('data', text => {
    printed += text
  })
  const sees = async (count: number) => {
    while (seen().length < count) await once(client.stdout, 'data')
  }

  for (let n = 0; n < 20; n++) await raise(n)
  await sees(20)
  await api[Symbol.asyncDispose]()
  for (let n = 20; n < 40; n++) await raise(n)
  api = await serve(Number(port))
  for (let n = 40; n < 60; n++) await raise(n)
  await sees(60)
  await api[Symbol.asyncDispose]()
  expect(seen().toSorted()).toEqual(Array.from({ length: 60 }, (_, n) => `alert-${n}`).toSorted())
})
