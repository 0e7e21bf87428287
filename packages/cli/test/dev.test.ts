import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { jsonLines, taken, temporary, Weft, weft } from './spawned.ts'

interface Places {
  readonly dashboard: string
  readonly alerts: string
  readonly metrics: string
  readonly events: readonly string[]
}

const RULES = 'rules: [{ name: seen, kind: count, events: [page_view], count: 1, within: 1m }]\n'

async function start(cwd: string, ...args: string[]): Promise<Weft & { places: Places }> {
  const dev = new Weft(['dev', '--json', '--port', '0', ...args], { cwd, env: { LOG_LEVEL: 'warn' } })
  const [line] = await dev.says(/^\{"dashboard".*\}$/m)
  return Object.assign(dev, { places: JSON.parse(line) as Places })
}

async function stop(dev: Weft): Promise<number | null> {
  dev.child.kill('SIGINT')
  return (await dev.ended).code
}

const event = (id: string) => ({
  event_id: id,
  type: 'page_view',
  session_id: 's1',
  payload: { elapsed_ms: 0, page: 'product' },
})

const post = (places: Places, id: string) =>
  fetch(places.events[0] ?? '', {
    method: 'POST',
    headers: { authorization: 'Bearer wk_aurora_demo', 'content-type': 'application/json' },
    body: JSON.stringify(event(id)),
  })

/** Alerts of everybody, waited for at the server until there are some after the cursor. */
async function alerts({ dashboard }: Places, cursor?: string) {
  const { token } = (await (await fetch(`${dashboard}/dev-token`)).json()) as { token: string }
  const query = new URLSearchParams({ wait: '20', tenant: 'aurora', ...(cursor && { cursor }) })
  const answer = await fetch(`${dashboard}/v1/alerts?${query}`, { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(200)
  return (await answer.json()) as { alerts: { rule: string; entity: string }[]; cursor: string }
}

test('an event in becomes an alert out, and both are there after a restart', async () => {
  await using folder = await temporary()
  const cwd = folder.path
  await writeFile(path.join(cwd, 'weft.yaml'), RULES)
  let seen: Awaited<ReturnType<typeof alerts>>
  {
    await using dev = await start(cwd, '--no-demo')
    expect((await post(dev.places, 'e1')).status).toBe(202)
    seen = await alerts(dev.places)
    expect(seen.alerts).toMatchObject([{ rule: 'seen', entity: 'aurora:s1' }])
    const page = await fetch(dev.places.dashboard)
    expect(await page.text()).toContain('<html')
    const metrics = await (await fetch(dev.places.metrics)).text()
    expect(metrics).toMatch(/weft_ingest_events_total\{[^}]*tenant="aurora"[^}]*\} 1/)
    expect((await fetch(`${dev.places.dashboard}/readyz`)).status).toBe(200)
    expect(await stop(dev)).toBe(0)
    expect(dev.err).toBe('')
  }
  // The secret is for its owner alone.
  expect((await stat(path.join(cwd, '.weft/dev/jwt-secret'))).mode & 0o777).toBe(0o600)
  {
    await using dev = await start(cwd, '--no-demo')
    expect((await alerts(dev.places)).alerts).toEqual(seen.alerts)
    expect(await (await post(dev.places, 'e1')).text()).toContain('duplicate')
    expect(await stop(dev)).toBe(0)
  }
  const raw = await weft(cwd, ['tail', 'events.raw.v1', '--json'])
  expect(jsonLines(raw.out).map(line => (line.value as { event_id: string }).event_id)).toEqual(['e1'])
})

test('demo sessions play, and everybody who looks in from outside sees them', async () => {
  await using folder = await temporary()
  await using dev = await start(folder.path, '--speed', '3000')
  const seen = await weft(folder.path, ['tail', 'signals.scores.v1', '--from', 'earliest', '-f', '-n', '5', '--json'])
  expect(seen.code).toBe(0)
  for (const line of jsonLines(seen.out)) expect((line.value as { score: number }).score).toBeGreaterThanOrEqual(0)
  const groups = jsonLines((await weft(folder.path, ['groups', '--json'])).out)
  expect(groups.find(row => row.group === 'weft.ingest')).toMatchObject({ members: 1 })
  expect(await stop(dev)).toBe(0)
  expect(dev.err).toBe('')
})

test('--fresh begins with an empty store, and deletes nothing that is not a store', async () => {
  await using folder = await temporary()
  const cwd = folder.path
  await weft(cwd, ['produce', 'alerts.system.v1', '--dry-run'], '')
  const note = { topic: { name: 'notes' } }
  expect((await weft(cwd, ['tail', note.topic.name])).code).toBe(4)
  {
    await using dev = await start(cwd, '--no-demo')
    await post(dev.places, 'e1')
    const other = await weft(cwd, ['dev', '--fresh', '--no-demo', '--port', '0'])
    expect(other.code).toBe(1)
    expect(other.err).toMatch(new RegExp(`is in use by process ${dev.child.pid}: stop it first\n$`))
    // A terminal and npm both pass the same Ctrl-C on: that is still the first one.
    dev.child.kill('SIGINT')
    expect(await stop(dev)).toBe(0)
  }
  {
    await using dev = await start(cwd, '--no-demo', '--fresh')
    expect(await stop(dev)).toBe(0)
    expect(dev.err).toBe(`deleted the store in ${path.join(cwd, '.weft')}\n`)
  }
  expect((await weft(cwd, ['tail', 'events.raw.v1'])).out).toBe('')

  const other = path.join(cwd, 'photos')
  await mkdir(other)
  await writeFile(path.join(other, 'cat.jpg'), 'x')
  const { code, err } = await weft(cwd, ['dev', '--fresh', '--log', 'embedded:photos'])
  expect(code).toBe(2)
  expect(err).toMatch(/photos is not recognisably a Weft store \(it holds cat\.jpg\): nothing was deleted\n$/)
  expect(await readdir(other)).toEqual(['cat.jpg'])
})

test('a port in use is one sentence and a failure', async () => {
  await using folder = await temporary()
  await using port = await taken()
  const { code, err, out } = await weft(folder.path, ['dev', '--no-demo', '--port', String(port.port)])
  expect({ code, out }).toEqual({ code: 1, out: '' })
  expect(err).toMatch(new RegExp(`^weft: .*${port.port}.* is in use: stop what uses it, or choose another.*\n$`))
})

test('a full disk is one sentence and a failure', async () => {
  await using folder = await temporary()
  const env = { WEFT_LEAST_FREE_BYTES: String(2 ** 52) }
  const { code, err } = await weft(folder.path, ['dev', '--no-demo', '--port', '0'], '', env)
  expect(code).toBe(1)
  expect(err).toMatch(/^weft: the disk of .*\.weft is full \(less than [\d,]+ MiB are left\): free some space .*\n$/)
})

test('a store of a newer version is one sentence and a failure', async () => {
  await using folder = await temporary()
  const location = path.join(folder.path, '.weft')
  const { Store } = await import('../../transport/src/embedded/store.ts')
  const { KEY } = await import('../../transport/src/embedded/keys.ts')
  const store = await Store.open(location)
  await store.meta.put(KEY.format, Buffer.from('999'))
  await store.release()
  const { code, err } = await weft(folder.path, ['dev', '--no-demo', '--port', '0'])
  expect(code).not.toBe(0)
  expect(err).toMatch(
    /^weft: the store in ".*" has format 999, this version of Weft knows up to \d+: use a newer Weft\n$/,
  )
})

test('a model that is missing is one sentence and a failure', async () => {
  await using folder = await temporary()
  await writeFile(path.join(folder.path, 'weft.yaml'), 'pipeline: { modelFile: nowhere }')
  const { code, err } = await weft(folder.path, ['dev', '--no-demo', '--port', '0'])
  expect(code).not.toBe(0)
  expect(err.trim().split('\n').length).toBe(1)
  expect(err).toContain('nowhere')
})

test('services run as processes of their own over one store', async () => {
  await using folder = await temporary()
  const cwd = folder.path
  await writeFile(path.join(cwd, 'weft.yaml'), RULES)
  const env = {
    LOG_LEVEL: 'warn',
    WEFT_WRITE_KEYS: 'wk_aurora_demo=aurora',
    WEFT_JWT_SECRET: 'a-secret-of-at-least-thirty-two-bytes',
    WEFT_GATEWAY_PORT: '0',
    WEFT_GATEWAY_HTTP_PORT: '0',
    WEFT_ALERTS_PORT: '0',
    WEFT_PIPELINE_OPS_PORT: '0',
  }
  const refused = await weft(cwd, ['run', 'alerts-api'], '', { ...env, WEFT_JWT_SECRET: '' })
  expect(refused).toMatchObject({ code: 2 })
  await using gateway = new Weft(['run', 'ingest-gw', '--json'], { cwd, env })
  await using pipeline = new Weft(['run', 'pipeline', '--json'], { cwd, env })
  await using api = new Weft(['run', 'alerts-api', '--json'], { cwd, env })
  const [gatewayPlaces, pipelinePlaces, apiPlaces] = await Promise.all(
    [gateway, pipeline, api].map(async each => JSON.parse((await each.says(/^\{.*\}$/m))[0])),
  )
  expect((await post({ ...apiPlaces, events: [gatewayPlaces.http] }, 'e1')).status).toBe(202)
  const { out: token } = await weft(cwd, ['token', '-t', 'aurora'], '', env)
  const answer = await fetch(`${apiPlaces.dashboard}/v1/alerts?wait=20`, {
    headers: { authorization: `Bearer ${token.trim()}` },
  })
  expect(await answer.json()).toMatchObject({ alerts: [{ rule: 'seen' }] })
  expect((await fetch(pipelinePlaces.readiness)).status).toBe(200)
  // There is no development token outside `weft dev`.
  expect((await fetch(`${apiPlaces.dashboard}/dev-token`)).status).toBe(404)
  expect(await Promise.all([gateway, pipeline, api].map(stop))).toEqual([0, 0, 0])
  expect(gateway.err + pipeline.err + api.err).toBe('')
})
