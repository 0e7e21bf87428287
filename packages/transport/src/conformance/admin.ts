import { expect } from 'vitest'
import type { From, Position, TopicSpec } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, contents, gate, numbered, settled, take, until, within } from './observe.ts'

/** Topics as they were asked for, ends and beginnings, and what groups have left to do. */
export function admin(test: Cases) {
  test('ensure creates what is missing, as it was asked for', async ({ transport, fresh }) => {
    const specs: TopicSpec[] = [
      {
        topic: { name: fresh('kept') },
        partitions: 3,
        retentionMs: 86_400_000,
        retentionBytes: 10_000_000,
        cleanup: 'delete',
      },
      { topic: { name: fresh('compacted') }, partitions: 1, cleanup: 'compact' },
    ]
    expect(await transport.admin.ensure(specs)).toEqual([])
    const topics = await transport.admin.topics()
    for (const spec of specs) expect(topics.find(each => each.topic.name === spec.topic.name)).toMatchObject(spec)
  })

  test('ensure is harmless twice, at once, and from several clients', async ({ open, transport, fresh }) => {
    const specs = Array.from({ length: 5 }, () => ({ topic: { name: fresh('topic') }, partitions: 2 }))
    const clients = [transport, await open(), await open()]
    const answers = await Promise.all(clients.map(client => client.admin.ensure(specs)))
    answers.push(await transport.admin.ensure(specs))
    expect(answers).toEqual([[], [], [], []])
    const topic = specs[0]?.topic as TopicSpec['topic']
    await Promise.all(clients.map((client, i) => client.append(topic, numbered(10, 10, i * 10))))
    expect(await contents(transport, topic)).toHaveLength(30)
  })

  test('ensure names what differs, a sentence each, and leaves it alone', async ({ transport, fresh }) => {
    const topic = { name: fresh('topic') }
    const was: TopicSpec = { topic, partitions: 3, retentionMs: 3_600_000, cleanup: 'delete' }
    await transport.admin.ensure([was])
    await transport.append(topic, numbered(10))
    const differences = await transport.admin.ensure([
      { topic, partitions: 5, retentionMs: 60_000, cleanup: 'compact' },
    ])
    expect(differences).toHaveLength(3)
    for (const each of differences) expect(each).toContain(topic.name)
    expect(differences.find(each => each.includes('partition'))).toMatch(/3.*5|5.*3/)
    expect((await transport.admin.topics()).find(each => each.topic.name === topic.name)).toMatchObject(was)
    expect(await contents(transport, topic)).toHaveLength(10)
  })

  test('ensure refuses what cannot be, and makes none of it', async ({ transport, fresh }) => {
    for (const wrong of [0, -1, 1.5]) {
      const [good, bad] = [{ name: fresh('good') }, { name: fresh('bad') }]
      const specs = [
        { topic: good, partitions: 1 },
        { topic: bad, partitions: wrong },
      ]
      await expect(transport.admin.ensure(specs)).rejects.toMatchObject({
        code: 'INVALID',
        message: expect.stringContaining(bad.name),
      })
      await expect(transport.admin.describe(good)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
    await expect(transport.admin.ensure([{ topic: { name: '' }, partitions: 1 }])).rejects.toMatchObject({
      code: 'INVALID',
    })
  })

  test('alter changes what can be changed in place, and leaves the rest as it is', async ({ transport, create }) => {
    const topic = await create({ partitions: 2, retentionMs: 3_600_000, retentionBytes: 50_000_000 })
    await transport.append(topic, numbered(10))
    await transport.admin.alter([{ topic, partitions: 2, retentionMs: 7_200_000 }])
    const found = async () => (await transport.admin.topics()).find(each => each.topic.name === topic.name)
    const now: TopicSpec = { topic, partitions: 2, retentionMs: 7_200_000, retentionBytes: 50_000_000 }
    await until('it has the new retention', async () => (await found())?.retentionMs === 7_200_000)
    expect(await found()).toMatchObject(now)
    expect(await transport.admin.ensure([now])).toEqual([])
    expect(await contents(transport, topic)).toHaveLength(10)
  })

  test('alter refuses what cannot be changed in place, naming the way out, and then changes nothing', async ({
    transport,
    create,
    fresh,
  }) => {
    const topics = [await create({ retentionMs: 3_600_000 }), await create({ retentionMs: 3_600_000 })] as const
    const fine = { topic: topics[0], partitions: 4, retentionMs: 60_000 }
    const refusals: [Partial<TopicSpec>, RegExp][] = [
      [{ partitions: 8 }, /partitions 4, not 8.*keys.*replay/],
      [{ partitions: 2 }, /partitions 4, not 2.*cannot lose.*replay/],
      [{ cleanup: 'compact' }, /cleanup delete, not compact.*replay/],
    ]
    for (const [change, words] of refusals)
      await expect(
        transport.admin.alter([fine, { topic: topics[1], partitions: 4, retentionMs: 60_000, ...change }]),
      ).rejects.toMatchObject({ code: 'INVALID', message: expect.stringMatching(words) })
    for (const topic of topics)
      expect((await transport.admin.topics()).find(each => each.topic.name === topic.name)).toMatchObject({
        partitions: 4,
        retentionMs: 3_600_000,
      })
    const missing = transport.admin.alter([fine, { topic: { name: fresh('missing') }, partitions: 1 }])
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(transport.admin.alter([{ ...fine, retentionMs: -1 }])).rejects.toMatchObject({ code: 'INVALID' })
  })

  test('describe tells each partition: after first lies all there is, after end only what comes', async ({
    transport,
    create,
  }) => {
    const topic = await create({ partitions: 3 })
    const empty = await transport.admin.describe(topic)
    expect(empty.partitions).toBe(3)
    expect(empty.first.map(each => each.partition)).toEqual([0, 1, 2])
    expect(empty.end.map(each => each.partition)).toEqual([0, 1, 2])
    // Places in an empty partition are places all the same.
    await transport.append(topic, numbered(20, 20))
    expect(await take(transport, topic, 20, { after: empty.end })).toHaveLength(20)
    const { first, end } = await transport.admin.describe(topic)
    expect(await take(transport, topic, 20, { after: first })).toHaveLength(20)
    await transport.append(topic, numbered(5, 5, 20))
    expect((await contents(transport, topic, { after: end })).map(bodyOf).sort()).toEqual([
      '20',
      '21',
      '22',
      '23',
      '24',
    ])
    for (const [i, position] of end.entries())
      expect(transport.compare(first[i] as typeof position, position)).toBeLessThan(0)
  })

  test('positions tells where a reader from anywhere starts', async ({ transport, create, fresh }) => {
    const topic = await create({ partitions: 3 })
    await transport.append(topic, numbered(30, 30))
    const old = await take(transport, topic, 30)
    const last = Math.max(...old.map(each => each.appendedAt))
    await until('the clock has moved', () => Date.now() > last + 1)
    const [, , third] = await transport.append(topic, numbered(5, 5, 100), { partition: 1 })
    const { first, end } = await transport.admin.describe(topic)
    expect(await transport.admin.positions(topic, 'earliest')).toEqual(first)
    expect(await transport.admin.positions(topic, 'latest')).toEqual(end)
    const values = async (from: From) => (await contents(transport, topic, from)).map(bodyOf).sort()
    for (const from of [{ time: 0 }, { time: last + 1 }, { after: [third as Position] }, { after: end }]) {
      const places = await transport.admin.positions(topic, from)
      expect(places.map(each => each.partition)).toEqual([0, 1, 2])
      expect(await values({ after: places })).toEqual(await values(from))
    }
    const missing = transport.admin.positions({ name: fresh('missing') }, 'earliest')
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('describe says NOT_FOUND for a topic that does not exist', async ({ transport, fresh }) => {
    await expect(transport.admin.describe({ name: fresh('missing') })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('groups shows what each group has left to settle, and who does it', async ({
    open,
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create({ partitions: 2 }), fresh('group')]
    await transport.append(topic, numbered(6, 1), { partition: 1 })
    const [hold, begun] = [gate(), gate()]
    const clientId = fresh('client')
    const running = await (await open({ clientId })).subscribe(topic, { group }, async each => {
      if (bodyOf(each) !== '1') return
      begun.open()
      await hold.promise
    })
    await within('the second message', begun.promise)
    const watcher = await open()
    const mine = async () =>
      (await watcher.admin.groups()).filter(each => each.group === group).toSorted((a, b) => a.partition - b.partition)
    const busy = await until('one is settled', async () => {
      const lags = await mine()
      return lags[1]?.lag === 5 && lags
    })
    expect(busy).toMatchObject([
      { topic, partition: 0, lag: 0 },
      { topic, partition: 1, lag: 5 },
    ])
    for (const each of busy) expect(each.member).toContain(clientId)
    hold.open()
    await settled(watcher, group)
    await running[Symbol.asyncDispose]()
    await transport.append(topic, numbered(3, 1), { partition: 0 })
    const left = await mine()
    expect(left.map(each => [each.lag, each.member])).toEqual([
      [3, undefined],
      [0, undefined],
    ])
  })
}
