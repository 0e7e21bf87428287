import { appendFile, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createAuth } from '@weft/auth'
import { startGateway } from '@weft/ingest-gw'
import { loadCatalogue } from '@weft/schema'
import { open, type Transport, WeftError } from '@weft/transport'
import { expect, test } from 'vitest'
import { loadConfig } from '../src/config.ts'
import { spoolOf } from '../src/spool-settings.ts'
import { jsonLines, temporary, weft } from './spawned.ts'

const catalogue = await loadCatalogue()
const auth = createAuth({ writeKeys: { wk_aurora_x: 'aurora', wk_birch_x: 'birch' } })

/** The log takes nothing but what goes to a partition, which events never do. */
const away = (transport: Transport): Transport =>
  new Proxy(transport, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (name !== 'append') return typeof value === 'function' ? value.bind(target) : value
      return async (...args: Parameters<Transport['append']>) => {
        if (args[2]?.partition === undefined) throw new WeftError('UNAVAILABLE', 'the log is away')
        return target.append(...args)
      }
    },
  })

/** Leaves a spool with three events of two tenants where the configuration has it; resolves to its segment. */
async function spooled(folder: string): Promise<string> {
  await using transport = await open(`embedded:${path.join(folder, '.weft')}`)
  await transport.admin.ensure(catalogue.specs())
  await using gateway = await startGateway({
    transport: away(transport),
    catalogue,
    auth,
    directory: path.join(folder, '.weft/ingest-gw'),
    http: { port: 0 },
    https: false,
    spool: { directory: path.join(folder, '.weft/ingest-gw/spool'), numbered: true, reserveBytes: 0 },
  })
  for (const key of ['wk_aurora_x', 'wk_aurora_x', 'wk_birch_x']) {
    const answer = await fetch(`${gateway.http}/v1/events`, {
      method: 'POST',
      headers: { 'x-write-key': key, 'content-type': 'application/json' },
      body: JSON.stringify({ type: 'page_view', session_id: 's', payload: { elapsed_ms: 0, page: 'product' } }),
    })
    expect(await answer.json()).toMatchObject({ status: 'accepted', spooled: true })
  }
  const spool = path.join(folder, '.weft/ingest-gw/spool-1')
  const [name] = (await readdir(spool)).filter(each => each.endsWith('.spool'))
  return path.join(spool, name as string)
}

test('spool verify tells what waits, for people and for scripts', async () => {
  await using folder = await temporary()
  await spooled(folder.path)
  const { code, out } = await weft(folder.path, ['spool', 'verify'])
  expect([code, out]).toEqual([0, expect.stringMatching(/3 events wait, the oldest since 20.+Z\n/)])
  expect(out).toContain('aurora: 2\n')
  expect(out).toContain('birch: 1\n')
  const json = await weft(folder.path, ['spool', 'verify', '--json'])
  expect(jsonLines(json.out)).toMatchObject([{ waiting: 3, segments: 1, tenants: { aurora: 2, birch: 1 }, faults: [] }])
})

test('spool verify finds what is torn and damaged with exit code 3, and mends it only when told to', async () => {
  await using folder = await temporary()
  const segment = await spooled(folder.path)
  const content = await readFile(segment)
  // In the second of three records.
  const middle = Math.floor(content.length / 2)
  content[middle] = (content[middle] as number) ^ 1
  await writeFile(segment, content)
  await appendFile(segment, Uint8Array.of(0x91, 0x7d))
  const found = await weft(folder.path, ['spool', 'verify'])
  expect(found.code).toBe(3)
  expect(found.out).toMatch(/fault: record 2 \(\d+\.spool, bytes \d+ to \d+\) cannot be read\nfault: .* is cut short/)
  expect(found.err).toContain('there are 2 faults: stop the gateway and give --repair to mend it')
  expect(await readFile(segment)).toHaveLength(content.length + 2)
  const repaired = await weft(folder.path, ['spool', 'verify', '--repair'])
  expect([repaired.code, repaired.out]).toEqual([0, expect.stringContaining('records given up: 2, the original is')])
  const again = await weft(folder.path, ['spool', 'verify', '--json'])
  expect(jsonLines(again.out)).toMatchObject([{ waiting: 2, givenUp: 1, faults: [], setAside: [{}] }])
})

test('spool verify without a spool says where it looked', async () => {
  await using folder = await temporary()
  const { code, err } = await weft(folder.path, ['spool', 'verify'])
  expect([code, err]).toEqual([4, expect.stringContaining(path.join('.weft', 'ingest-gw'))])
  expect((await weft(folder.path, ['spool', 'verify', 'nowhere'])).code).toBe(4)
})

test('a gateway spools by itself unless its log is embedded, and as it is told to', async () => {
  await using folder = await temporary()
  const of = async (yaml: string) => {
    await writeFile(path.join(folder.path, 'weft.yaml'), yaml)
    return spoolOf(await loadConfig({ cwd: folder.path, env: {} }))
  }
  expect(await of('log: embedded:data')).toBeUndefined()
  const own = path.join(folder.path, '.weft/ingest-gw/spool')
  expect(await of('log: kafka://127.0.0.1:9092')).toEqual({ directory: own, numbered: true })
  expect(await of('log: kafka://127.0.0.1:9092\ngateway: { spool: { enabled: false } }')).toBeUndefined()
  const told = 'gateway: { spool: { enabled: true, directory: sp, maxBytes: 2000000, reserveBytes: 0, patienceMs: 9 } }'
  expect(await of(told)).toEqual({
    directory: path.join(folder.path, 'sp'),
    maxBytes: 2_000_000,
    reserveBytes: 0,
    patienceMs: 9,
  })
})

test('wrong settings of spool and redis are told with what would be right, a password never', async () => {
  await using folder = await temporary()
  const yaml = 'gateway: { spool: { maxBytes: 5, patience: 3 }, redis: "redis://me:hush@host:6379" }'
  await writeFile(path.join(folder.path, 'weft.yaml'), yaml)
  const error = await loadConfig({ cwd: folder.path, env: {} }).catch(each => each)
  const lines = String(error.message).split('\n').slice(1)
  expect(lines).toHaveLength(3)
  expect(lines).toContain(
    '  /gateway/redis: a password must not be in the file: give the whole URL by the variable WEFT_GATEWAY_REDIS',
  )
  expect(lines).toContain('  /gateway/spool/maxBytes: is 5, expected at least 1048576')
  expect(lines).toContain('  /gateway/spool/patience: is unknown, did you mean patienceMs?')
  await writeFile(path.join(folder.path, 'weft.yaml'), 'gateway: { redis: "http://host" }')
  const other = await loadConfig({ cwd: folder.path, env: {} }).catch(each => each)
  expect(other.message).toContain('/gateway/redis: is "http://host", expected a URL such as redis://127.0.0.1:6379')
  await writeFile(path.join(folder.path, 'weft.yaml'), '')
  const env = { WEFT_GATEWAY_REDIS: 'redis://me:hush@host:6379', WEFT_GATEWAY_SPOOL_MAX_BYTES: '2000000' }
  const { gateway } = await loadConfig({ cwd: folder.path, env })
  expect([gateway.redis, gateway.spool.maxBytes]).toEqual(['redis://me:hush@host:6379', 2_000_000])
})
