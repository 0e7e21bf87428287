import { expect } from 'vitest'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, message, numbered, until, within } from './observe.ts'

/** What a `writer` promises: what comes from elsewhere is appended once, whoever repeats it. */
export function writer(test: Cases) {
  const sequenced = (...sequences: (number | bigint)[]) =>
    sequences.map(sequence => ({ sequence: BigInt(sequence), message: message('k', String(sequence)) }))

  test('knows no last sequence before its first append, then the last one, per topic', async ({
    transport,
    create,
    fresh,
  }) => {
    const [one, other] = [await create(), await create()]
    await using writer = await transport.writer(fresh('writer'))
    expect(await writer.last(one)).toBeUndefined()
    await writer.append(one, sequenced(0, 1, 5))
    expect(await writer.last(one)).toBe(5n)
    expect(await writer.last(other)).toBeUndefined()
    await writer.append(other, sequenced(2))
    expect([await writer.last(one), await writer.last(other)]).toEqual([5n, 2n])
  })

  test('lets a repeat vanish: across appends, among new ones, within one append', async ({
    transport,
    create,
    fresh,
  }) => {
    const topic = await create({ partitions: 1 })
    await using writer = await transport.writer(fresh('writer'))
    await writer.append(topic, sequenced(1, 2, 3))
    await writer.append(topic, sequenced(1, 2, 3))
    await writer.append(topic, sequenced(2, 3, 4, 5))
    await writer.append(topic, sequenced(6, 6, 7, 7, 7))
    await writer.append(topic, sequenced(10, 8, 9, 11))
    await writer.append(topic, [])
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['1', '2', '3', '4', '5', '6', '7', '10', '11'])
    expect(await writer.last(topic)).toBe(11n)
  })

  test('knows where it was after it was closed and opened elsewhere', async ({ open, transport, create, fresh }) => {
    const [topic, own] = [await create({ partitions: 1 }), fresh('writer')]
    {
      await using writer = await transport.writer(own)
      await writer.append(topic, sequenced(1, 2, 3))
    }
    await using writer = await (await open()).writer(own)
    expect(await writer.last(topic)).toBe(3n)
    await writer.append(topic, sequenced(2, 3, 4))
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['1', '2', '3', '4'])
  })

  test('keeps every bit of a sequence', async ({ transport, create, fresh }) => {
    const topic = await create({ partitions: 1 })
    await using writer = await transport.writer(fresh('writer'))
    const sequences = [2n ** 53n, 2n ** 53n + 1n, 2n ** 53n + 2n, 2n ** 63n - 1n]
    await writer.append(topic, sequenced(...sequences))
    await writer.append(topic, sequenced(...sequences))
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(sequences.map(String))
    expect(await writer.last(topic)).toBe(2n ** 63n - 1n)
  })

  test('keeps writers of other names apart', async ({ transport, create, fresh }) => {
    const topic = await create({ partitions: 1 })
    await using one = await transport.writer(fresh('writer'))
    await using other = await transport.writer(fresh('writer'))
    await one.append(topic, sequenced(1, 2))
    await other.append(topic, sequenced(1, 2))
    expect(await contents(transport, topic)).toHaveLength(4)
  })

  test('keeps the order of equal keys and of calls that run at once', async ({ transport, create, fresh }) => {
    const topic = await create()
    await using writer = await transport.writer(fresh('writer'))
    const messages = numbered(200, 7)
    await Promise.all(messages.map((each, i) => writer.append(topic, [{ sequence: BigInt(i), message: each }])))
    expect(byKey(await contents(transport, topic))).toEqual(byKey(messages))
  })

  test('fences whoever had the name before', async ({ open, transport, create, fresh }) => {
    const [topic, own] = [await create({ partitions: 1 }), fresh('writer')]
    const old = await transport.writer(own)
    await old.append(topic, sequenced(1))
    await using taken = await (await open()).writer(own)
    await expect(old.append(topic, sequenced(2))).rejects.toMatchObject({ code: 'FENCED' })
    await taken.append(topic, sequenced(2))
    await expect(old.append(topic, sequenced(3))).rejects.toMatchObject({ code: 'FENCED' })
    await old[Symbol.asyncDispose]()
    // The old one's leaving takes nothing from the new one.
    await taken.append(topic, sequenced(3))
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['1', '2', '3'])
  })

  test('fences one that was replaced while it slept', async ({ transport, create, fresh, spawn }) => {
    const [topic, own] = [await create({ partitions: 1 }), fresh('writer')]
    const child = spawn('writer', { topic, writer: own, seed: 1, until: 3 })
    await until('the child has written', () => child.of('written').some(([sequence]) => sequence === '3'))
    child.stop()
    await using taken = await within('the name', transport.writer(own))
    expect(await taken.last(topic)).toBe(3n)
    await taken.append(topic, sequenced(4, 5))
    child.resume()
    child.say('go on')
    expect(await child.first('refused')).toContain('FENCED')
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['1', '2', '3', '4', '5'])
  })

  test('has taken nothing when it rejects, so the same sequences can come again', async ({
    cluster,
    transport,
    create,
    fresh,
  }) => {
    const topic = await create({ partitions: 1 })
    await using writer = await transport.writer(fresh('writer'))
    await expect(writer.append({ name: fresh('missing') }, sequenced(1))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const large = message('k', '', { value: new Uint8Array(transport.guarantees.maxMessageBytes + 1) })
    await expect(writer.append(topic, [...sequenced(1), { sequence: 2n, message: large }])).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
    await writer.append(topic, sequenced(1, 2))
    await cluster.failStorage()
    try {
      await expect(within('an answer', writer.append(topic, sequenced(3, 4)))).rejects.toMatchObject({
        code: 'UNAVAILABLE',
      })
    } finally {
      await cluster.healStorage()
    }
    await until('the writer works again', () =>
      writer.append(topic, sequenced(3, 4, 5)).then(
        () => true,
        () => false,
      ),
    )
    expect((await contents(transport, topic)).map(bodyOf)).toEqual(['1', '2', '3', '4', '5'])
  })

  test('is CLOSED after it was disposed, and disposing twice is harmless', async ({ transport, create, fresh }) => {
    const topic = await create()
    const writer = await transport.writer(fresh('writer'))
    await writer[Symbol.asyncDispose]()
    await writer[Symbol.asyncDispose]()
    await expect(writer.append(topic, sequenced(1))).rejects.toMatchObject({ code: 'CLOSED' })
  })
}
