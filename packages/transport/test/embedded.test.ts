import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open as openLmdb } from 'lmdb'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  bytes,
  type EmbeddedTransport,
  type Message,
  openEmbedded,
  type Received,
  type Topic,
  text,
} from '../src/index.ts'

let directory: string
let url: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weft-embedded-'))
  url = `embedded:${directory}`
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const topic: Topic = { name: 'events' }
const message = (key: string, value: string | null): Message => ({
  key: bytes(key),
  value: value === null ? null : bytes(value),
  time: 1,
})

async function all(transport: EmbeddedTransport, from: Topic = topic): Promise<Received[]> {
  const { first, end } = await transport.admin.describe(from)
  let missing = first.filter((position, i) => position.at !== end[i]?.at).length
  const found: Received[] = []
  if (missing === 0) return found
  for await (const batch of transport.read(from, { from: 'earliest' })) {
    found.push(...batch)
    const last = batch.at(-1)?.position
    if (last && last.at === end[last.partition]?.at && --missing === 0) break
  }
  return found
}

describe('the URL', () => {
  test.each([
    ['embedded:', 'names no directory'],
    ['embedded:x?sessionMs=never', 'sessionMs must be a number from 100 on, not "never"'],
    ['embedded:x?maxByte=1', 'unknown parameters (maxByte)'],
    ['embedded:x?maxBytes=', 'maxBytes must be a number from 1 on, not ""'],
  ])('%s is refused with what is wrong', async (wrong, message) => {
    await expect(openEmbedded(wrong)).rejects.toMatchObject({
      code: 'INVALID',
      message: expect.stringContaining(message),
    })
  })
})

describe('the store', () => {
  test('keeps its cluster id, its topics and its messages over closing and opening', async () => {
    const first = await openEmbedded(url)
    await first.admin.ensure([{ topic, partitions: 1 }])
    await first.append(topic, [message('k', 'v')])
    await first[Symbol.asyncDispose]()
    await using second = await openEmbedded(url)
    expect(second.cluster).toBe(first.cluster)
    expect((await all(second)).map(({ value }) => text(value as Uint8Array))).toEqual(['v'])
  })

  test('is refused with one clear sentence when a newer version wrote it', async () => {
    const transport = await openEmbedded(url)
    await transport[Symbol.asyncDispose]()
    const raw = openLmdb({ path: directory, noSubdir: false, encoding: 'binary', keyEncoding: 'binary' })
    await raw
      .openDB({ name: 'meta', encoding: 'binary', keyEncoding: 'binary' })
      .put(Buffer.from('f'), Buffer.from('99'))
    await raw.close()
    await expect(openEmbedded(url)).rejects.toMatchObject({
      code: 'INVALID',
      message: `the store in "${directory}" has format 99, this version of Weft knows up to 1: use a newer Weft`,
    })
  })

  test('is shared by transports of one process, and closes with the last of them', async () => {
    const [one, two] = [await openEmbedded(url), await openEmbedded(url)]
    await one.admin.ensure([{ topic, partitions: 1 }])
    await one[Symbol.asyncDispose]()
    await two.append(topic, [message('k', 'v')])
    await two[Symbol.asyncDispose]()
    await using three = await openEmbedded(url)
    expect(await all(three)).toHaveLength(1)
  })

  test('takes no more bytes than it may have, says so, and goes on when retention made room', async () => {
    await using transport = await openEmbedded(`${url}?maxBytes=100000`)
    await transport.admin.ensure([{ topic, partitions: 1, retentionBytes: 20_000 }])
    const kilobyte = message('k', 'x'.repeat(1000))
    for (let i = 0; i < 90; i++) await transport.append(topic, [kilobyte])
    await expect(transport.append(topic, Array(20).fill(kilobyte))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      retryable: true,
      message: expect.stringContaining('is full'),
    })
    await transport.maintain()
    await transport.append(topic, Array(20).fill(kilobyte))
  })

  test('gives the space of what retention removed to what comes', async () => {
    await using transport = await openEmbedded(url)
    await transport.admin.ensure([{ topic, partitions: 1, retentionBytes: 500_000 }])
    const batch = Array(100).fill(message('k', 'x'.repeat(10_000)))
    const sizes: number[] = []
    for (let i = 0; i < 12; i++) {
      await transport.append(topic, batch)
      await transport.maintain()
      sizes.push((await stat(join(directory, 'data.mdb'))).size)
    }
    expect(sizes.at(-1)).toBeLessThan(2 * (sizes[2] as number))
  })
})

describe('a backup', () => {
  test('made while the store is in use is consistent, and opens as a store', async () => {
    await using transport = await openEmbedded(url)
    const out = { name: 'out' }
    await transport.admin.ensure([topic, out].map(each => ({ topic: each, partitions: 1 })))
    await using _ = await transport.transact(
      [topic],
      { group: 'g', commitEvery: { messages: 7 } },
      (batch, transaction) => {
        const count = Number(text(transaction.get('s', bytes('n')) ?? bytes('0'))) + batch.length
        transaction.set('s', bytes('n'), bytes(String(count)))
        transaction.append(out, batch)
      },
    )
    let going = true
    const feeding = (async () => {
      for (let i = 0; going; i++) await transport.append(topic, [message('k', String(i))])
    })()
    const target = join(directory, 'copies', 'one')
    await transport.backup(target)
    going = false
    await feeding

    await using copy = await openEmbedded(`embedded:${target}`)
    expect(copy.cluster).toBe(transport.cluster)
    const sent = (await all(copy)).map(({ value }) => Number(text(value as Uint8Array)))
    expect(sent).toEqual(sent.map((_, i) => i))
    const [lag] = await copy.admin.groups()
    expect((await all(copy, out)).length).toBe(sent.length - (lag?.lag as number))
    await expect(transport.backup(target)).rejects.toMatchObject({ code: 'INVALID' })
  })
})

describe('compaction', () => {
  test('leaves holes that readers, groups and times get over, also when whole batches are gone', async () => {
    await using transport = await openEmbedded(url)
    await transport.admin.ensure([{ topic, partitions: 1, cleanup: 'compact' }])
    for (let i = 0; i < 50; i++) await transport.append(topic, [message('a', `${i}`), message(`b${i % 5}`, `${i}`)])
    const before = await transport.admin.describe(topic)
    const removed = await transport.maintain()
    expect(removed.records).toBe(100 - 6)
    const left = await all(transport)
    expect(left.map(({ position }) => Number(position.at))).toEqual([91, 93, 95, 97, 98, 99])
    expect(await transport.admin.describe(topic)).toEqual(before)
    const reading = transport.read(topic, { from: { after: [{ partition: 0, at: '40' }] } })[Symbol.asyncIterator]()
    expect((await reading.next()).value).toEqual(left)
    const since = transport.read(topic, { from: { time: left[2]?.appendedAt as number } })[Symbol.asyncIterator]()
    expect((await since.next()).value.at(-1)).toEqual(left.at(-1))
    expect((await transport.maintain()).records).toBe(0)
  })

  test('keeps the last value over many rounds', async () => {
    await using transport = await openEmbedded(url)
    await transport.admin.ensure([{ topic, partitions: 1, cleanup: 'compact' }])
    const expected = new Map<string, string | null>()
    for (let round = 0; round < 10; round++) {
      const batch = Array.from({ length: 300 }, (_, i) => {
        const key = `k${(i * 7 + round * 13) % 40}`
        const value = i % 11 === 0 ? null : `${round}.${i}`
        expected.set(key, value)
        return message(key, value)
      })
      await transport.append(topic, batch)
      await transport.maintain()
      const found = new Map(
        (await all(transport)).map(({ key, value }) => [text(key as Uint8Array), value && text(value)]),
      )
      expect(found).toEqual(expected)
    }
    expect(await all(transport)).toHaveLength(40)
  })

  test('takes tombstones away when all had time to read them, and what they stand for stays away', async () => {
    await using transport = await openEmbedded(`${url}?tombstoneMs=0`)
    await transport.admin.ensure([{ topic, partitions: 1, cleanup: 'compact' }])
    await transport.append(topic, [message('gone', '1'), message('stays', '2'), message('gone', null)])
    const { end } = await transport.admin.describe(topic)
    while (Date.now() <= ((await all(transport)).at(-1)?.appendedAt ?? 0)) await new Promise(setImmediate)
    await transport.maintain()
    const reading = transport.read(topic, { from: 'earliest' })[Symbol.asyncIterator]()
    const left = (await reading.next()).value as readonly Received[]
    expect(left.map(({ key }) => text(key as Uint8Array))).toEqual(['stays'])
    expect((await transport.admin.describe(topic)).end).toEqual(end)
  })
})

describe('tenants', () => {
  test('that name a group or a writer alike share neither its state nor its sequences', async () => {
    const found: Record<string, unknown[]> = {}
    for (const tenant of ['a', 'b']) {
      await using transport = await openEmbedded(url, { tenant })
      const own = { ...topic, tenant }
      await transport.admin.ensure([{ topic: own, partitions: 1 }])
      await transport.append(own, [message('k', 'v')])
      const seen = Promise.withResolvers<unknown>()
      await using _ = await transport.transact([own], { group: 'g' }, (_, transaction) => {
        seen.resolve(transaction.get('s', bytes('k')))
        transaction.set('s', bytes('k'), bytes(tenant))
      })
      await using writer = await transport.writer('w')
      found[tenant] = [await seen.promise, await writer.last(own)]
      await writer.append(own, [{ sequence: 5n, message: message('k', 'v') }])
    }
    expect(found).toEqual({ a: [undefined, undefined], b: [undefined, undefined] })
  })
})
