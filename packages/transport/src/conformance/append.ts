import { expect } from 'vitest'
import { bytes } from '../message.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, keyOf, message, numbered, take, until, within } from './observe.ts'

/** What `append` promises: durable, in order per key, all positions told. */
export function append(test: Cases) {
  test('delivers each message once when nothing fails', async ({ transport, create }) => {
    const topic = await create()
    const messages = numbered(500)
    for (let i = 0; i < 500; i += 50) await transport.append(topic, messages.slice(i, i + 50))
    const found = await contents(transport, topic)
    expect(found.map(bodyOf).sort()).toEqual(messages.map(bodyOf).sort())
  })

  test('tells the position of each message, in the order given', async ({ transport, create }) => {
    const topic = await create()
    const positions = await transport.append(topic, numbered(40))
    expect(positions).toHaveLength(40)
    const found = await take(transport, topic, 40)
    for (const each of found) expect(positions[Number(bodyOf(each))]).toEqual(each.position)
  })

  test('appends nothing when there is nothing to append', async ({ transport, create }) => {
    const topic = await create()
    expect(await transport.append(topic, [])).toEqual([])
    expect(await contents(transport, topic)).toEqual([])
  })

  test('keeps the order of equal keys within an append and across appends', async ({ transport, create }) => {
    const topic = await create()
    const messages = numbered(400, 7)
    await transport.append(topic, messages.slice(0, 150))
    await transport.append(topic, messages.slice(150, 151))
    await transport.append(topic, messages.slice(151))
    expect(byKey(await contents(transport, topic))).toEqual(byKey(messages))
  })

  test('keeps the order of calls that run at once in one process', async ({ transport, create }) => {
    const topic = await create()
    const messages = numbered(300, 7)
    await Promise.all(messages.map(each => transport.append(topic, [each])))
    expect(byKey(await contents(transport, topic))).toEqual(byKey(messages))
  })

  test('keeps the order of each of several clients that append at once', async ({ open, transport, create }) => {
    const topic = await create()
    const names = ['a', 'b', 'c']
    await Promise.all(
      names.map(async client => {
        const own = await open()
        for (let i = 0; i < 60; i++) await own.append(topic, [message('shared', `${client}${i}`)])
      }),
    )
    const found = (await contents(transport, topic)).map(bodyOf)
    for (const client of names) {
      expect(found.filter(value => value.startsWith(client))).toEqual(
        Array.from({ length: 60 }, (_, i) => `${client}${i}`),
      )
    }
  })

  test('puts equal keys into the same partition, in every topic with as many', async ({ transport, create }) => {
    const [one, other] = [await create(), await create()]
    await transport.append(one, numbered(200, 50))
    await transport.append(other, numbered(50, 50))
    const places = async (topic: typeof one, count: number) =>
      new Map((await take(transport, topic, count)).map(each => [keyOf(each), each.position.partition]))
    const found = await take(transport, one, 200)
    const first = await places(one, 200)
    for (const each of found) expect(each.position.partition).toBe(first.get(keyOf(each)))
    expect(await places(other, 50)).toEqual(first)
    expect(new Set(first.values()).size).toBe(4)
  })

  test('puts messages into the partition that is asked for, whatever their keys', async ({ transport, create }) => {
    const topic = await create()
    const positions = await transport.append(topic, numbered(20), { partition: 2 })
    expect(new Set(positions.map(each => each.partition))).toEqual(new Set([2]))
    const found = await take(transport, topic, 20)
    expect(found.map(bodyOf)).toEqual(numbered(20).map(bodyOf))
    expect(new Set(found.map(each => each.position.partition))).toEqual(new Set([2]))
  })

  test('refuses a partition that the topic does not have', async ({ transport, create }) => {
    const topic = await create()
    await expect(transport.append(topic, numbered(1), { partition: 4 })).rejects.toMatchObject({ code: 'INVALID' })
    await expect(transport.append(topic, numbered(1), { partition: -1 })).rejects.toMatchObject({ code: 'INVALID' })
    expect(await contents(transport, topic)).toEqual([])
  })

  test('says NOT_FOUND for a topic that does not exist, and does not make it', async ({ transport, fresh }) => {
    const topic = { name: fresh('missing') }
    await expect(transport.append(topic, numbered(1))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect((await transport.admin.topics()).map(each => each.topic.name)).not.toContain(topic.name)
  })

  test('takes a message of the largest size and says TOO_LARGE one byte above it', async ({ transport, create }) => {
    const topic = await create({ partitions: 1 })
    const { maxMessageBytes } = transport.guarantees
    // 1 byte of key, 4 of a header's name, 3 of its value.
    const sized = (size: number) =>
      message('k', '', { value: new Uint8Array(size - 8).fill(7), headers: [['name', bytes('abc')]] })
    await transport.append(topic, [sized(maxMessageBytes)])
    await expect(transport.append(topic, [sized(maxMessageBytes + 1)])).rejects.toMatchObject({ code: 'TOO_LARGE' })
    const found = await contents(transport, topic)
    expect(found).toHaveLength(1)
    expect(found[0]?.value).toHaveLength(maxMessageBytes - 8)
  })

  test('leaves the neighbours of a message that is too large intact', async ({ transport, create }) => {
    const topic = await create({ partitions: 1 })
    const large = message('k', '', { value: new Uint8Array(transport.guarantees.maxMessageBytes + 1) })
    const calls = [
      transport.append(topic, [message('k', 'before')]),
      transport.append(topic, [large]),
      transport.append(topic, [message('k', 'after')]),
    ]
    const outcomes = await Promise.allSettled(calls)
    expect(outcomes.map(each => each.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['before', 'after'])
  })

  test('stamps each message with the time at which the log took it', async ({ transport, create }) => {
    const topic = await create({ partitions: 1 })
    const before = Date.now()
    await transport.append(topic, numbered(3))
    const after = Date.now()
    // A broker's clock may be a second off ours.
    for (const each of await take(transport, topic, 3)) {
      expect(each.appendedAt).toBeGreaterThanOrEqual(before - 1000)
      expect(each.appendedAt).toBeLessThanOrEqual(after + 1000)
    }
  })

  test('rejects while storage fails, and the same client works again after', async ({ cluster, transport, create }) => {
    const topic = await create({ partitions: 1 })
    await transport.append(topic, [message('k', 'before')])
    await cluster.failStorage()
    let outcomes: PromiseSettledResult<unknown>[]
    try {
      const calls = numbered(20).map(each => transport.append(topic, [each]))
      outcomes = await within('appends to settle while storage fails', Promise.allSettled(calls))
    } finally {
      await cluster.healStorage()
    }
    for (const each of outcomes)
      expect(each).toMatchObject({ status: 'rejected', reason: { code: 'UNAVAILABLE', retryable: true } })
    await until('the client works again', () => transport.append(topic, [message('k', 'after')]).catch(() => undefined))
    // What was rejected may be there or not; what was acknowledged is there.
    const found = (await contents(transport, topic)).map(bodyOf)
    expect(found.filter(value => Number.isNaN(Number(value)))).toEqual(['before', 'after'])
  })
}
