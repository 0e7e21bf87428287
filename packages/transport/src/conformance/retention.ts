import { expect } from 'vitest'
import { bytes, header } from '../message.ts'
import type { Guarantees, Position, Received } from '../transport.ts'
import type { Cases } from './fixture.ts'
import type { Cluster } from './harness.ts'
import { bodyOf, contents, isMark, keyOf, message, numbered, settled, take, until, within } from './observe.ts'

/** What may go, what must stay, and that nobody is led past what is gone without being told. */
export function retention(test: Cases, guarantees: Guarantees) {
  /** A topic whose first messages are gone by their age; the clock is waited for, not the log. */
  const agedOf = ({ shortRetentionMs: retentionMs = 50 }: Cluster) => ({ partitions: 1, retentionMs })
  const older = (cluster: Cluster) => {
    const old = Date.now() + agedOf(cluster).retentionMs
    return until('the messages are old enough', () => Date.now() > old)
  }

  test('keeps what is young and drops what is old', async ({ cluster, transport, create }) => {
    const topic = await create({ partitions: 1, retentionMs: 3_600_000 })
    await transport.append(topic, numbered(20))
    await cluster.expire(topic)
    expect(await contents(transport, topic)).toHaveLength(20)

    const short = await create(agedOf(cluster))
    await transport.append(short, numbered(20))
    await older(cluster)
    await cluster.expire(short)
    const { first, end } = await transport.admin.describe(short)
    expect(first).toEqual(end)
    await transport.append(short, numbered(5, 5, 100))
    expect((await take(transport, short, 5)).map(bodyOf)).toEqual(numbered(5, 5, 100).map(bodyOf))
  })

  test('drops the oldest when a partition outgrows its bytes, and keeps the newest', async ({
    cluster,
    transport,
    create,
  }) => {
    const topic = await create({ partitions: 1, retentionBytes: 262_144 })
    const value = new Uint8Array(8_192)
    const positions: Position[] = []
    for (let i = 0; i < 10; i++) {
      positions.push(
        ...(await transport.append(
          topic,
          Array.from({ length: 20 }, () => message('k', '', { value })),
        )),
      )
    }
    await cluster.expire(topic)
    const left = await contents(transport, topic)
    // A log drops by segments, so it may keep some more than it must.
    expect(left.length * 8_192).toBeGreaterThanOrEqual(262_144 - 2 * 8_192)
    expect(left.length).toBeLessThan(150)
    expect(left.map(each => each.position)).toEqual(positions.slice(-left.length))
  })

  test('says POSITION_GONE instead of leaving out what is gone', async ({ cluster, transport, create, fresh }) => {
    const topic = await create(agedOf(cluster))
    const positions = await transport.append(topic, numbered(20))
    const stored = JSON.parse(JSON.stringify(positions[9]))
    await older(cluster)
    await cluster.expire(topic)
    await transport.append(topic, numbered(3, 3, 20))
    const from = { after: [stored] }
    const reading = transport.read(topic, { from })[Symbol.asyncIterator]()
    await expect(within('an answer', reading.next())).rejects.toMatchObject({ code: 'POSITION_GONE' })
    await expect(transport.admin.positions(topic, from)).rejects.toMatchObject({ code: 'POSITION_GONE' })
    const joined = transport.subscribe(topic, { group: fresh('group'), from }, () => {}).then(running => running.done)
    await expect(within('an answer', joined)).rejects.toMatchObject({ code: 'POSITION_GONE' })
    if (guarantees.exactlyOnce) {
      const owned = transport.transact([topic], { group: fresh('group'), from }, () => {}).then(running => running.done)
      await expect(within('an answer', owned)).rejects.toMatchObject({ code: 'POSITION_GONE' })
    }
    // After the last one that is gone comes all that is there: nothing is left out.
    expect((await take(transport, topic, 3, { after: [positions[19] as Position] })).map(bodyOf)).toEqual([
      '20',
      '21',
      '22',
    ])
  })

  test('says POSITION_GONE to a reader that retention has overtaken', async ({ cluster, transport, create }) => {
    const topic = await create(agedOf(cluster))
    const value = new Uint8Array(16_384)
    const sent = (from: number, count: number) =>
      numbered(count, 1, from).map(each => ({ ...each, headers: [header('n', bodyOf(each))], value }))
    for (let i = 0; i < 10; i++) await transport.append(topic, sent(i * 20, 20))
    const reading = transport.read(topic, { from: 'earliest', maxBytes: 65_536 })[Symbol.asyncIterator]()
    let last = -1
    const follow = (batch: readonly Received[]) => {
      for (const each of batch) expect(Number(Buffer.from(each.headers?.[0]?.[1] ?? []).toString())).toBe(++last)
    }
    follow((await reading.next()).value)
    await older(cluster)
    await cluster.expire(topic)
    await transport.append(topic, sent(200, 5))
    // What was fetched ahead may still come; then the gap is told, not jumped.
    const outcome = (async () => {
      while (last < 204) follow((await reading.next()).value)
    })()
    await expect(within('an answer', outcome)).rejects.toMatchObject({ code: 'POSITION_GONE' })
  })

  test('a group that retention has overtaken goes on with what is left', async ({
    cluster,
    transport,
    create,
    fresh,
  }) => {
    const [topic, group, handled] = [await create(agedOf(cluster)), fresh('group'), [] as string[]]
    await transport.append(topic, numbered(10))
    {
      await using _ = await transport.subscribe(topic, { group }, () => {})
      await settled(transport, group)
    }
    await transport.append(topic, numbered(10, 10, 10))
    await older(cluster)
    await cluster.expire(topic)
    await transport.append(topic, numbered(10, 10, 20))
    await using running = await transport.subscribe(topic, { group }, each => void handled.push(bodyOf(each)))
    await settled(transport, group)
    // A transport whose groups hold back retention may have more of them left.
    expect(handled.slice(-10).sort()).toEqual(numbered(10, 10, 20).map(bodyOf))
    expect(handled.every(value => Number(value) >= 10)).toBe(true)
    expect((await running.lag()).map(each => each.messages)).toEqual([0])
  })

  if (!guarantees.compaction) return

  test('compaction keeps the last value of each key, in order, and tombstones win', async ({
    cluster,
    transport,
    create,
  }) => {
    const topic = await create({ partitions: 1, cleanup: 'compact' })
    const rounds = 10
    const sent = Array.from({ length: 100 }, (_, i) =>
      message(`k${i % rounds}`, String(i), { time: i, headers: [header('n', String(i))] }),
    )
    const positions = await transport.append(topic, sent)
    await transport.append(topic, [
      message('k3', '', { value: null }),
      message('k4', '', { value: null }),
      message('k4', 'back'),
    ])
    await transport.append(topic, [message('active', 'the newest may be out of compaction’s reach')])
    await cluster.expire(topic)
    const left = (await contents(transport, topic)).filter(each => keyOf(each) !== 'active')
    const values = left.filter(each => each.value !== null)
    expect(values.map(bodyOf)).toEqual(['90', '91', '92', '95', '96', '97', '98', '99', 'back'])
    // A tombstone may stay for those who have not seen it, but then as the key's last word.
    for (const each of left) if (keyOf(each) === 'k3') expect(each.value).toBeNull()
    const kept = values[0] as Received
    expect([kept.position, kept.time, kept.headers]).toEqual([positions[90], 90, [['n', bytes('90')]]])
  })

  test('compaction leads nobody astray: old places stay good, and a fold over the log gives the same', async ({
    cluster,
    open,
    transport,
    create,
  }) => {
    const topic = await create({ partitions: 2, cleanup: 'compact' })
    const fold = async (from?: { after: Position[] }) => {
      const table = new Map<string, string>()
      for (const each of await contents(await open(), topic, from ?? 'earliest')) {
        if (each.value === null) table.delete(keyOf(each) as string)
        else table.set(keyOf(each) as string, bodyOf(each))
      }
      return table
    }
    const positions = await transport.append(topic, numbered(200, 20))
    await transport.append(topic, [message('k7', '', { value: null })])
    const before = await fold()
    await cluster.expire(topic)
    expect(await fold()).toEqual(before)
    expect(before.has('k7')).toBe(false)
    // Compaction is not loss: whoever was at a place in the middle goes on with what is left behind it.
    const middle = positions
      .slice(90, 110)
      .reduce((places, each) => places.set(each.partition, each), new Map<number, Position>())
    const rest = await fold({ after: [...middle.values()] })
    for (const [key, value] of rest) expect(before.get(key)).toBe(value)
  })

  test('compaction among appends and readers loses no last value', async ({ cluster, open, transport, create }) => {
    const topic = await create({ partitions: 1, cleanup: 'compact' })
    const stop = new AbortController()
    const seen: Received[] = []
    const reader = await open()
    const reading = (async () => {
      for await (const batch of reader.read(topic, { from: 'earliest', signal: stop.signal })) seen.push(...batch)
    })()
    for (let i = 0; i < 60; i++) {
      const appended = transport.append(topic, numbered(50, 20, i * 50))
      if (i % 3 === 0) await cluster.expire(topic)
      await appended
    }
    await until('the reader has come to the end', () => seen.some(each => bodyOf(each) === '2999'))
    stop.abort()
    await reading
    const last = new Map(numbered(20, 20, 2980).map(each => [keyOf(each), bodyOf(each)]))
    for (const found of [seen, await contents(transport, topic)]) {
      expect(new Map(found.map(each => [keyOf(each), bodyOf(each)]))).toEqual(last)
      const places = found.map(each => each.position)
      for (const [i, place] of places.slice(1).entries())
        expect(transport.compare(places[i] as Position, place)).toBeLessThan(0)
    }
  })

  test('a group goes on over compaction and its lag goes to 0', async ({ cluster, transport, create, fresh }) => {
    const [topic, group] = [await create({ partitions: 1, cleanup: 'compact' }), fresh('group')]
    const handled: Received[] = []
    await transport.append(topic, numbered(50, 5))
    {
      await using _ = await transport.subscribe(topic, { group }, each => void handled.push(each))
      await settled(transport, group)
    }
    await transport.append(topic, numbered(100, 5, 50))
    await cluster.expire(topic)
    await using _ = await transport.subscribe(topic, { group }, each => void (isMark(each) || handled.push(each)))
    await until('the last is handled', () => handled.some(each => bodyOf(each) === '149'))
    await settled(transport, group)
    const last = new Map(handled.map(each => [keyOf(each), bodyOf(each)]))
    expect([...last.values()].sort()).toEqual(['145', '146', '147', '148', '149'])
  })
}
