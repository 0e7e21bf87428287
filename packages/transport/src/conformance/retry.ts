import { expect } from 'vitest'
import { HEADERS, header, headerOf } from '../message.ts'
import { type Received, WeftError } from '../transport.ts'
import type { Cases } from './fixture.ts'
import {
  bodyOf,
  byKey,
  contents,
  gate,
  isMark,
  keyOf,
  message,
  numbered,
  settled,
  take,
  until,
  within,
} from './observe.ts'

/** Retries that hold their key and nothing else, and dead letters that lose nothing of what they were. */
export function retry(test: Cases) {
  const soon = { minMs: 1, maxMs: 5 }

  test('tries again, counting the attempts, until it succeeds', async ({ transport, create, fresh }) => {
    const [topic, group] = [await create(), fresh('group')]
    await transport.append(topic, numbered(20, 5))
    const [attempts, handled]: [number[], Received[]] = [[], []]
    await using _ = await transport.subscribe(
      topic,
      { group, retry: { ...soon, maxAttempts: 4 } },
      (each, { attempt }) => {
        if (bodyOf(each) === '7') attempts.push(attempt)
        else expect(attempt).toBe(1)
        if (bodyOf(each) === '7' && attempt < 4) throw new Error('not yet')
        handled.push(each)
      },
    )
    await settled(transport, group)
    expect(attempts).toEqual([1, 2, 3, 4])
    expect(byKey(handled)).toEqual(byKey(numbered(20, 5)))
  })

  test('holds the key that failed and lets the others flow, however many wait behind it', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
    const held = Array.from({ length: 200 }, (_, i) => message('held', `held${i}`))
    await transport.append(topic, [...held, ...numbered(100)])
    const handled: Received[] = []
    let free = false
    await using _ = await transport.subscribe(
      topic,
      { group, maxUnacked: 16, retry: { ...soon, maxAttempts: 100_000 } },
      each => {
        if (keyOf(each) === 'held' && !free) throw new Error('held')
        handled.push(each)
      },
    )
    await until('all other keys have flowed', () => handled.length === 100)
    expect(handled.map(keyOf)).not.toContain('held')
    free = true
    await settled(transport, group)
    expect(byKey(handled)).toEqual(byKey([...held, ...numbered(100)]))
  })

  test('hands out no more than maxUnacked, even when all of them wait for their next try', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create(), fresh('group')]
    await transport.append(topic, numbered(100, 100))
    const tried = new Map<string, number>()
    let free = false
    const options = { group, maxUnacked: 5, retry: { ...soon, maxAttempts: 100_000 } }
    await using _ = await transport.subscribe(topic, options, each => {
      tried.set(bodyOf(each), (tried.get(bodyOf(each)) ?? 0) + 1)
      if (!free) throw new Error('an outage')
    })
    await until('each in hand was tried several times', () => tried.size === 5 && Math.min(...tried.values()) > 3)
    const inHand = tried.size
    free = true
    await settled(transport, group)
    expect(inHand).toBe(5)
    expect(tried.size).toBe(100)
  })

  test('dead-letters after maxAttempts what would not succeed, then lets its key flow', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create(), fresh('group')]
    const poison = message('k', 'poison', { time: 42, headers: [header('a', '1'), header('a', '2')] })
    const [position] = await transport.append(topic, [poison, message('k', 'behind it')])
    const begin = Date.now()
    const handled: string[] = []
    let tried = 0
    await using _ = await transport.subscribe(topic, { group, retry: { ...soon, maxAttempts: 3 } }, each => {
      if (bodyOf(each) !== 'poison') return void handled.push(bodyOf(each))
      tried++
      throw new WeftError('UNAVAILABLE', 'the shop is closed')
    })
    await settled(transport, group)
    expect(tried).toBe(3)
    expect(handled).toEqual(['behind it'])

    const letters = await contents(transport, { name: `${topic.name}.dlq` })
    expect(letters).toHaveLength(1)
    const letter = letters[0] as Received
    expect([keyOf(letter), bodyOf(letter), letter.time]).toEqual(['k', 'poison', 42])
    const own = Object.values(HEADERS) as string[]
    expect(
      letter.headers
        ?.filter(([name]) => !own.includes(name))
        .map(([name, value]) => [name, Buffer.from(value).toString()]),
    ).toEqual([
      ['a', '1'],
      ['a', '2'],
    ])
    expect(headerOf(letter, HEADERS.origin)).toBe(
      `${transport.cluster}/${topic.name}/${position?.partition}/${position?.at}`,
    )
    expect(headerOf(letter, HEADERS.error)).toContain('the shop is closed')
    expect(headerOf(letter, HEADERS.errorCode)).toBe('UNAVAILABLE')
    expect(headerOf(letter, HEADERS.attempts)).toBe('3')
    expect(headerOf(letter, HEADERS.group)).toBe(group)
    expect(Number(headerOf(letter, HEADERS.failedAt))).toBeGreaterThanOrEqual(begin - 1000)
    expect(headerOf(letter, HEADERS.error)).not.toContain('conformance')
  })

  test('dead-letters at once what says that a retry cannot help, where it is told to', async ({
    cluster,
    transport,
    create,
    fresh,
  }) => {
    const [topic, deadLetters, group] = [await create(), await create(), fresh('group')]
    const sent = message('k', 'bad', { schema: cluster.schemas[0] })
    await transport.append(topic, [sent, message('k', 'good')])
    const attempts: number[] = []
    await using _ = await transport.subscribe(topic, { group, deadLetters }, (each, { attempt }) => {
      if (bodyOf(each) !== 'bad') return
      attempts.push(attempt)
      throw new WeftError('SCHEMA', 'field "total" is missing')
    })
    await settled(transport, group)
    expect(attempts).toEqual([1])
    const [letter] = await take(transport, deadLetters, 1)
    expect(letter?.schema).toEqual(cluster.schemas[0])
    expect(headerOf(letter as Received, HEADERS.errorCode)).toBe('SCHEMA')
    expect(headerOf(letter as Received, HEADERS.attempts)).toBe('1')
    expect((await transport.admin.topics()).map(each => each.topic.name)).not.toContain(`${topic.name}.dlq`)
  })

  test('dead-letters what is a tombstone, has no key, is as large as can be, or fails with what is no Error or endless', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
    const largest = message('k', '', { value: new Uint8Array(transport.guarantees.maxMessageBytes - 1).fill(1) })
    await transport.append(topic, [message('t', '', { value: null }), message(undefined, 'no key'), largest])
    await using _ = await transport.subscribe(topic, { group, retry: { ...soon, maxAttempts: 2 } }, each => {
      if (keyOf(each) === 't') throw undefined
      throw new Error('endless '.repeat(100_000))
    })
    await settled(transport, group)
    const letters = await take(transport, { name: `${topic.name}.dlq` }, 3)
    const found = letters.map(each => [keyOf(each), each.value?.length]).sort()
    expect(found).toEqual(
      [
        ['k', largest.value?.length],
        ['t', undefined],
        [undefined, 6],
      ].sort(),
    )
    for (const each of letters) expect(headerOf(each, HEADERS.attempts)).toBe('2')
  })

  test('keeps the order of dead letters and successes of a key', async ({ transport, create, fresh }) => {
    const [topic, group] = [await create(), fresh('group')]
    await transport.append(topic, numbered(60, 3))
    const handled: Received[] = []
    await using _ = await transport.subscribe(topic, { group, retry: { ...soon, maxAttempts: 2 } }, each => {
      if (Number(bodyOf(each)) % 5 === 0) throw new Error('every fifth')
      handled.push(each)
    })
    await settled(transport, group)
    const every = (fifth: boolean) => numbered(60, 3).filter(each => (Number(bodyOf(each)) % 5 === 0) === fifth)
    expect(byKey(handled)).toEqual(byKey(every(false)))
    expect(byKey(await contents(transport, { name: `${topic.name}.dlq` }))).toEqual(byKey(every(true)))
  })

  test('dead-letters nothing and loses nothing when it is shut down', async ({ transport, create, fresh }) => {
    const [topic, deadLetters, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
    await transport.append(topic, numbered(30, 3))
    const failedOnce = gate()
    const running = await transport.subscribe(
      topic,
      { group, deadLetters, retry: { maxAttempts: 2, minMs: 60_000, maxMs: 60_000 } },
      () => {
        failedOnce.open()
        throw new Error('fails')
      },
    )
    await within('a failure', failedOnce.promise)
    await within('the member to leave, not waiting for its next try', running[Symbol.asyncDispose]())
    expect(await contents(transport, deadLetters)).toEqual([])
    const handled: Received[] = []
    await using _ = await transport.subscribe(topic, { group }, each => void handled.push(each))
    await settled(transport, group)
    expect(byKey(handled)).toEqual(byKey(numbered(30, 3)))
  })

  test('keeps the order of a key that is being retried over a hand-over', async ({
    transport,
    create,
    fresh,
    spawn,
  }) => {
    const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
    await transport.append(topic, numbered(40, 4))
    // Fails on every message of k1 for ever, handles the others.
    const child = spawn('member', { topic, group, fail: 'k1', retry: { maxAttempts: 100_000, minMs: 1, maxMs: 5 } })
    await until(
      'the child has handled the other keys and retried',
      () => child.of('handled').length >= 30 && child.of('failed').length > 3,
    )
    expect(new Set(child.of('failed').map(([value]) => value))).toEqual(new Set(['1']))
    await child.kill()
    const handled: Received[] = []
    await using _ = await transport.subscribe(topic, { group }, each => void (isMark(each) || handled.push(each)))
    await settled(transport, group)
    expect(byKey(handled).get('k1')).toEqual(byKey(numbered(40, 4)).get('k1'))
  })
}
