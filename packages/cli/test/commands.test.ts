import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { loadCatalogue } from '@weft/schema'
import { bytes, HEADERS, header, open } from '@weft/transport'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { program } from '../src/program.ts'
import { type Folder, jsonLines, temporary, Weft, weft } from './spawned.ts'

const catalogue = await loadCatalogue()
const metrics = catalogue.codec('tracking.metrics.v1')
const SINCE = Date.UTC(2026, 0, 1)
let folder: Folder
let cwd: string

const metric = (service: string, value: number) => ({
  service_id: service,
  metric_name: 'weft_test',
  labels: {},
  metric_value: value,
  timestamp: SINCE + value,
})

/** A store with ten metrics of two services, a tick, a topic outside the catalogue, and a group that read some. */
beforeAll(async () => {
  folder = await temporary()
  cwd = folder.path
  await using transport = await open(`embedded:${path.join(cwd, '.weft')}`)
  const topic = { name: 'tracking.metrics.v1' }
  await transport.admin.ensure([...catalogue.specs(), { topic: { name: 'notes' }, partitions: 2 }])
  for (let value = 0; value < 10; value++) {
    const service = value % 2 ? 'odd' : 'even'
    const headers = [header(HEADERS.tenant, value < 4 ? 'aurora' : 'birch')]
    const body = { value: metrics.encode(metric(service, value)), schema: metrics.schema }
    await transport.append(topic, [{ key: bytes(service), ...body, time: SINCE + value, headers }])
  }
  const tick = [header(HEADERS.tick, String(SINCE))]
  const ticking = { value: metrics.encode(metric('tick', 0)), schema: metrics.schema, time: SINCE, headers: tick }
  await transport.append(topic, [ticking], { partition: 0 })
  const raw = new Uint8Array([0, 255, 1])
  await transport.append({ name: 'notes' }, [
    { key: bytes('a'), value: bytes('plain words'), time: SINCE, headers: [['raw', raw]] },
    { key: bytes('a'), value: null, time: SINCE },
  ])
  const seen = Promise.withResolvers<void>()
  let count = 0
  await using _member = await transport.subscribe(topic, { group: 'reader' }, () => {
    if (++count === 11) seen.resolve()
  })
  await seen.promise
})

afterAll(async () => folder?.[Symbol.asyncDispose]())

describe('weft', () => {
  test('a mistyped command gets a suggestion and exit code 2', async () => {
    const { code, err, out } = await weft(cwd, ['topcs'])
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toContain('Did you mean topics?')
  })

  test('a mistyped option gets a suggestion and exit code 2', async () => {
    const { code, err } = await weft(cwd, ['tail', 'alerts.v1', '--folow'])
    expect(code).toBe(2)
    expect(err).toContain('Did you mean --follow?')
  })

  test('the help of every command has examples', async () => {
    const all = [await program()]
    for (const command of all) all.push(...command.commands)
    const without = all.filter(command => {
      let help = ''
      command
        .configureOutput({
          writeOut: text => {
            help += text
          },
        })
        .outputHelp()
      return command.commands.length === 0 && !/Examples:\n +.*weft /.test(help)
    })
    expect(without.map(command => command.name())).toEqual([])
    expect(all.length).toBeGreaterThan(18)
  })

  test('a broken configuration is told in full and ends with 2', async () => {
    await using broken = await temporary()
    await writeFile(path.join(broken.path, 'weft.yaml'), 'dev: { port: x }\ngateway: { port: y }')
    const { code, err } = await weft(broken.path, ['dev'])
    expect(code).toBe(2)
    expect(err).toMatch(/^weft: wrong configuration in .*weft\.yaml:\n {2}\/dev\/port: .*\n {2}\/gateway\/port: .*\n$/)
  })

  test('a store that is not there is not made by looking for it', async () => {
    await using empty = await temporary()
    const { code, err } = await weft(empty.path, ['topics'])
    expect(code).toBe(4)
    expect(err).toMatch(/^weft: there is no store in .*\.weft: "weft dev" makes one, --log names another\n$/)
  })

  test('a transport that is not known is a usage error', async () => {
    const { code, err } = await weft(cwd, ['topics', '--log', 'rabbit://x'])
    expect(code).toBe(2)
    expect(err).toContain('"rabbit://x" is not a transport')
  })
})

describe('weft topics', () => {
  test('lists topics with their records', async () => {
    const { code, out } = await weft(cwd, ['topics'])
    expect(code).toBe(0)
    expect(out).toMatch(/^topic +partitions +records +retention +cleanup\n/)
    expect(out).toMatch(/^tracking\.metrics\.v1 +6 +11 +1d/m)
  })

  test('prints JSON lines for scripts', async () => {
    const { out } = await weft(cwd, ['topics', '--json'])
    const topic = jsonLines(out).find(row => row.topic === 'tracking.metrics.v1')
    expect(topic).toMatchObject({ partitions: 6, records: 11, cleanup: 'delete' })
  })

  test('describes one, partition by partition', async () => {
    const { out } = await weft(cwd, ['topics', 'tracking.metrics.v1', '--json'])
    const [described] = jsonLines(out)
    expect(described).toMatchObject({ topic: 'tracking.metrics.v1', key: '{service_id}' })
    const partitions = described?.partitions as { records: number }[]
    expect(partitions.reduce((sum, each) => sum + each.records, 0)).toBe(11)
  })

  test('suggests the topic that was meant', async () => {
    const { code, err } = await weft(cwd, ['topics', 'traking.metrics.v1'])
    expect(code).toBe(4)
    expect(err).toContain('there is no topic "traking.metrics.v1", did you mean "tracking.metrics.v1"?')
  })
})

describe('weft tail', () => {
  const values = (out: string) =>
    jsonLines(out)
      .map(line => (line.value as { metric_value: number }).metric_value)
      .sort((a, b) => a - b)

  test('shows every record decoded, without ticks', async () => {
    const { code, out, err } = await weft(cwd, ['tail', 'tracking.metrics.v1', '--json'])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(values(out)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(jsonLines(out)[0]).toMatchObject({ topic: 'tracking.metrics.v1', schema: 'tracking.metrics.v1-value@1' })
  })

  test('shows ticks when asked to', async () => {
    const { out } = await weft(cwd, ['tail', 'tracking.metrics.v1', '--json', '--ticks'])
    expect(jsonLines(out).length).toBe(11)
  })

  test('narrows by key, tenant and number, in order', async () => {
    const { out } = await weft(cwd, ['tail', 'tracking.metrics.v1', '--json', '-k', 'odd', '-t', 'birch', '-n', '2'])
    expect(jsonLines(out).map(line => [line.key, (line.value as { metric_value: number }).metric_value])).toEqual([
      ['odd', 5],
      ['odd', 7],
    ])
  })

  test('begins after a position or at a time', async () => {
    const all = jsonLines((await weft(cwd, ['tail', 'tracking.metrics.v1', '--json', '-k', 'odd'])).out)
    const [first] = all
    const from = `${first?.partition}:${first?.at}`
    const after = await weft(cwd, ['tail', 'tracking.metrics.v1', '--json', '-k', 'odd', '--from', from])
    expect(jsonLines(after.out)).toEqual(all.slice(1))
    const none = await weft(cwd, ['tail', 'tracking.metrics.v1', '--from', '2999-01-01'])
    expect(none).toMatchObject({ code: 0, out: '' })
    const wrong = await weft(cwd, ['tail', 'tracking.metrics.v1', '--from', 'yesterday-ish'])
    expect(wrong.code).toBe(2)
    expect(wrong.err).toContain('"yesterday-ish" is not a place in a topic')
  })

  test('shows what no schema describes as text, bytes as base64, and tombstones', async () => {
    const { out } = await weft(cwd, ['tail', 'notes', '--json'])
    expect(jsonLines(out)).toMatchObject([
      { key: 'a', value: 'plain words', headers: { raw: `base64:${Buffer.from([0, 255, 1]).toString('base64')}` } },
      { key: 'a', value: null },
    ])
    expect((await weft(cwd, ['tail', 'notes'])).out).toMatch(/a "plain words"\n.*a \(tombstone\)\n$/)
  })

  test('follows until Ctrl-C and then ends with 0', async () => {
    await using following = new Weft(['tail', 'notes', '-f', '--from', 'earliest', '--json'], { cwd })
    await following.says(/plain words/)
    const { code } = await weft(cwd, ['produce', 'notes', '-k', 'late'], '{"fresh":true}\n')
    expect(code).toBe(0)
    await following.says(/"value":\{"fresh":true\}/)
    following.child.kill('SIGINT')
    expect(await following.ended).toMatchObject({ code: 0, err: '' })
  })
})

describe('weft produce', () => {
  test('checks lines by the schema, keys them by the catalogue and appends them', async () => {
    await using fresh = await temporary()
    const lines = [metric('edge', 1), metric('edge', 2)].map(each => JSON.stringify(each)).join('\n')
    const { code, out } = await weft(fresh.path, ['produce', 'tracking.metrics.v1', '--json'], lines)
    expect(code).toBe(0)
    expect(jsonLines(out)).toEqual([{ topic: 'tracking.metrics.v1', appended: 2, dryRun: false }])
    const tail = await weft(fresh.path, ['tail', 'tracking.metrics.v1', '--json', '-k', 'edge'])
    expect(jsonLines(tail.out).map(line => line.value)).toEqual([metric('edge', 1), metric('edge', 2)])
  })

  test('stops at the first wrong line, naming it and the field', async () => {
    const lines = `${JSON.stringify(metric('x', 1))}\n{"service_id":7}\n`
    const { code, err } = await weft(cwd, ['produce', 'tracking.metrics.v1', '--dry-run'], lines)
    expect(code).toBe(1)
    expect(err).toMatch(/^weft: line 2: .*service_id.*; 1 before it were right\n$/s)
    const none = await weft(cwd, ['produce', 'tracking.metrics.v1', '--dry-run'], 'nonsense\n')
    expect(none.err).toMatch(/line 1: is not JSON/)
  })

  test('takes back what tail prints, bytes and tombstones included', async () => {
    await using fresh = await temporary()
    const shown = (await weft(cwd, ['tail', 'notes', '--json', '-k', 'a'])).out
    const file = path.join(fresh.path, 'notes.ndjson')
    await writeFile(file, shown)
    await using transport = await open(`embedded:${path.join(fresh.path, '.weft')}`)
    await transport.admin.ensure([{ topic: { name: 'notes' }, partitions: 2 }])
    expect(await weft(fresh.path, ['produce', 'notes', '--records', '--file', file])).toMatchObject({ code: 0 })
    const again = await weft(fresh.path, ['tail', 'notes', '--json', '-k', 'a'])
    expect(jsonLines(again.out).map(({ at: _at, ...rest }) => rest)).toEqual(
      jsonLines(shown).map(({ at: _at, ...rest }) => rest),
    )
  })

  test('a file that is not there is said to be missing', async () => {
    const { code, err } = await weft(cwd, ['produce', 'notes', '--file', 'none.ndjson'])
    expect({ code, err }).toEqual({ code: 4, err: 'weft: none.ndjson does not exist\n' })
  })
})

describe('weft groups', () => {
  test('lists groups with their lag', async () => {
    const { out } = await weft(cwd, ['groups', '--json'])
    expect(jsonLines(out)).toEqual([
      { group: 'reader', topic: 'tracking.metrics.v1', partitions: 6, lag: 0, members: 0 },
    ])
    expect((await weft(cwd, ['groups', 'reader'])).out).toMatch(/^group +topic +partition +lag +member\n/)
  })

  test('suggests the group that was meant', async () => {
    const { code, err } = await weft(cwd, ['groups', 'raeder'])
    expect(code).toBe(4)
    expect(err).toContain('did you mean "reader"?')
  })
})

describe('weft replay', () => {
  test('appends the same bytes, keys, times and partitions, and where each came from', async () => {
    const args = ['replay', '--topic', 'tracking.metrics.v1', '--into', 'metrics.again', '--json']
    const { code, out } = await weft(cwd, args)
    expect(code).toBe(0)
    expect(jsonLines(out)).toEqual([
      { topic: 'tracking.metrics.v1', into: 'metrics.again', read: 11, appended: 11, dryRun: false },
    ])
    const from = jsonLines((await weft(cwd, ['tail', 'tracking.metrics.v1', '--json', '--ticks'])).out)
    const to = jsonLines((await weft(cwd, ['tail', 'metrics.again', '--json', '--ticks'])).out)
    await using transport = await open(`embedded:${path.join(cwd, '.weft')}`)
    const expected = from.map(({ headers, ...line }) => {
      const origin = `${transport.cluster}/${line.topic}/${line.partition}/${line.at}`
      return { ...line, topic: 'metrics.again', headers: { ...(headers as object), 'weft-origin': origin } }
    })
    const byPlace = (a: Record<string, unknown>, b: Record<string, unknown>) =>
      Number(a.partition) - Number(b.partition) || Number(a.at) - Number(b.at)
    expect(to.sort(byPlace)).toEqual(expected.sort(byPlace))
  })

  test('takes a stretch, and with --dry-run only counts', async () => {
    const args = ['replay', '--topic', 'tracking.metrics.v1', '--into', 'nowhere', '--dry-run', '--json']
    const stretch = [...args, '--key', 'odd', '--no-ticks', '--to', '2999-01-01']
    expect(jsonLines((await weft(cwd, stretch)).out)[0]).toMatchObject({ appended: 5, dryRun: true })
    expect(jsonLines((await weft(cwd, [...args, '--to', '2020-01-01'])).out)[0]).toMatchObject({ appended: 0 })
    expect((await weft(cwd, ['topics', 'nowhere'])).code).toBe(4)
  })

  test('refuses to replay a topic into itself', async () => {
    const { code, err } = await weft(cwd, ['replay', '--topic', 'notes', '--into', 'notes'])
    expect({ code, err }).toEqual({
      code: 2,
      err: 'weft: a topic cannot be replayed into itself: choose another for --into\n',
    })
  })
})

describe('weft backup', () => {
  test('copies a store that opens like the first one', async () => {
    await using to = await temporary()
    const copy = path.join(to.path, 'copy')
    expect(await weft(cwd, ['backup', copy])).toMatchObject({ code: 0, err: `copied to ${copy}\n` })
    const { out } = await weft(to.path, ['tail', 'tracking.metrics.v1', '--json', '--log', `embedded:${copy}`])
    expect(jsonLines(out).length).toBe(10)
    const again = await weft(cwd, ['backup', copy])
    expect(again.code).toBe(2)
    expect(again.err).toContain('is not empty')
  })
})

describe('weft schemas', () => {
  test('the schemas of the project are compatible with what was released', async () => {
    const { code, out } = await weft(cwd, ['schemas', 'check'])
    expect(code).toBe(0)
    expect(out).toMatch(/^\d+ schemas are compatible/)
  })

  test('a change that breaks what was promised ends with 3, naming field and reason', async () => {
    await using fresh = await temporary()
    const { cp, readFile } = await import('node:fs/promises')
    const dir = path.join(fresh.path, 'schemas')
    await cp(catalogue.dir, dir, { recursive: true })
    expect((await weft(cwd, ['schemas', 'release', 'all', '--dir', dir])).code).toBe(0)
    const file = path.join(dir, 'alerts.v1.avsc')
    const schema = JSON.parse(await readFile(file, 'utf8'))
    schema.fields.push({ name: 'colour', type: 'string', doc: 'New, and without a default.' })
    await writeFile(file, JSON.stringify(schema))
    const { code, out, err } = await weft(cwd, ['schemas', 'check', '--dir', dir, '--json'])
    expect(code).toBe(3)
    expect(jsonLines(out)[0]).toMatchObject({ topic: 'alerts.v1', field: expect.stringContaining('colour') })
    expect(err).toMatch(/incompatible/)
  })

  test('lists topics and shows a schema', async () => {
    const list = jsonLines((await weft(cwd, ['schemas', 'list', '--json'])).out)
    expect(list.map(row => row.topic)).toContain('alerts.v1')
    const { out } = await weft(cwd, ['schemas', 'show', 'alerts.v1'])
    expect(JSON.parse(out)).toMatchObject({ type: 'record', name: 'Alert' })
    expect(await weft(cwd, ['schemas', 'show', 'alert.v1'])).toMatchObject({ code: 4 })
  })
})

describe('weft token', () => {
  const env = { WEFT_JWT_SECRET: 'a-secret-of-at-least-thirty-two-bytes' }

  test('signs a token for a tenant that the service accepts', async () => {
    const { createAuth } = await import('@weft/auth')
    const args = ['token', '-t', 'aurora', '-s', 'ingest', 'alerts:read', '--ttl', '10m']
    const { code, out } = await weft(cwd, args, '', env)
    expect(code).toBe(0)
    const auth = createAuth({ jwt: { secret: env.WEFT_JWT_SECRET } })
    expect(await auth.authenticate(out.trim())).toMatchObject({ tenant: 'aurora', scopes: ['ingest', 'alerts:read'] })
  })

  test('says what to do without a secret, and refuses a scope that does not exist', async () => {
    const { code, err } = await weft(cwd, ['token', '-t', 'aurora'])
    expect(code).toBe(4)
    expect(err).toContain('start "weft dev" once, or set WEFT_JWT_SECRET')
    expect((await weft(cwd, ['token', '-t', 'aurora', '-s', 'everything'], '', env)).code).toBe(2)
  })
})

test('a store that cannot be written is one sentence', async () => {
  await using fresh = await temporary()
  await mkdir(path.join(fresh.path, 'sub'))
  await writeFile(path.join(fresh.path, 'sub', 'file'), '')
  const { code, err } = await weft(fresh.path, ['dev', '--log', 'embedded:sub/file'])
  expect(code).toBe(1)
  expect(err).toMatch(/^weft: the store's folder .*file is not a directory; --log names another\n$/)
})
