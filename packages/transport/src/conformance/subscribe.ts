import { describe, expect } from 'vitest'
import { bytes } from '../message.ts'
import type { Received } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, gate, keyOf, message, numbered, settled, take, until, within } from './observe.ts'

/** What `subscribe` promises to one member: each message, keys in order, no more than `maxUnacked`, nothing lost by leaving. */
export function subscribe(test: Cases) {
  describe('delivery', () => {
    test('handles each message once when nothing fails', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create(), fresh('group')]
      await transport.append(topic, numbered(300))
      const found: Received[] = []
      await using _ = await transport.subscribe(topic, { group }, async each => void found.push(each))
      await transport.append(topic, numbered(200, 10, 300))
      await until('all are handled', () => found.length >= 500)
      await settled(transport, group)
      expect(byKey(found)).toEqual(byKey(numbered(500)))
    })

    test('handles messages without a key too', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create(), fresh('group')]
      await transport.append(
        topic,
        Array.from({ length: 50 }, (_, i) => message(undefined, String(i))),
      )
      const found: string[] = []
      await using _ = await transport.subscribe(topic, { group }, each => void found.push(bodyOf(each)))
      await settled(transport, group)
      expect(found.sort((a, b) => Number(a) - Number(b))).toEqual(numbered(50).map(bodyOf))
    })

    test('handles equal keys one after the other, and different keys of a partition at once', async ({
      transport,
      create,
      fresh,
    }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, numbered(60, 3))
      const [busy, seen, all] = [new Set<string>(), new Map<string, number>(), gate()]
      let doubled = false
      await using _ = await transport.subscribe(topic, { group }, async each => {
        const key = keyOf(each) as string
        doubled ||= busy.has(key)
        busy.add(key)
        if (busy.size === 3) all.open()
        // No key is let go until all three are in hand at once.
        await all.promise
        await new Promise(setImmediate)
        expect(Number(bodyOf(each))).toBeGreaterThan(seen.get(key) ?? -1)
        seen.set(key, Number(bodyOf(each)))
        busy.delete(key)
      })
      await within('three keys of one partition in hand at once', all.promise)
      await settled(transport, group)
      expect(doubled).toBe(false)
      expect([...seen.values()].sort()).toEqual([57, 58, 59])
    })

    test('never has more than maxUnacked in hand', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create(), fresh('group')]
      await transport.append(topic, numbered(200, 100))
      let [inHand, most, handled] = [0, 0, 0]
      const hold = gate()
      await using _ = await transport.subscribe(topic, { group, maxUnacked: 7 }, async () => {
        most = Math.max(most, ++inHand)
        await hold.promise
        await new Promise(setImmediate)
        inHand--
        handled++
      })
      await until('seven are in hand', () => inHand === 7)
      // The time in which an eighth would come: more is appended and read back.
      const more = await transport.append(topic, numbered(50, 50, 200))
      await take(transport, topic, 200 + more.length)
      expect(inHand).toBe(7)
      hold.open()
      await until('all are handled', () => handled === 250)
      expect(most).toBe(7)
    })

    test('handles one at a time with maxUnacked 1', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create(), fresh('group')]
      await transport.append(topic, numbered(60, 20))
      let [inHand, most] = [0, 0]
      await using _ = await transport.subscribe(topic, { group, maxUnacked: 1 }, async () => {
        most = Math.max(most, ++inHand)
        await new Promise(setImmediate)
        inHand--
      })
      await settled(transport, group)
      expect(most).toBe(1)
    })

    test('gives two groups everything each', async ({ transport, create, fresh }) => {
      const topic = await create()
      const found: [Received[], Received[]] = [[], []]
      const groups = [fresh('one'), fresh('two')]
      await using _ = await transport.subscribe(topic, { group: groups[0] as string }, each => void found[0].push(each))
      await transport.append(topic, numbered(100))
      await using __ = await transport.subscribe(
        topic,
        { group: groups[1] as string },
        each => void found[1].push(each),
      )
      for (const group of groups) await settled(transport, group)
      for (const each of found) expect(byKey(each)).toEqual(byKey(numbered(100)))
    })

    test('starts a new group where it is told to, and an old one where it was', async ({
      transport,
      create,
      fresh,
    }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      const positions = await transport.append(topic, numbered(20))
      const found: string[] = []
      const from = { after: [positions[14] as (typeof positions)[number]] }
      {
        await using _ = await transport.subscribe(topic, { group, from }, each => void found.push(bodyOf(each)))
        await settled(transport, group)
      }
      expect(found.sort()).toEqual(['15', '16', '17', '18', '19'])
      await transport.append(topic, numbered(2, 10, 20))
      await using _ = await transport.subscribe(
        topic,
        { group, from: 'earliest' },
        each => void found.push(bodyOf(each)),
      )
      await until('the rest is handled', () => found.length >= 7)
      await settled(transport, group)
      expect(found.sort()).toEqual(['15', '16', '17', '18', '19', '20', '21'])
    })

    test('starts a new group at the latest or at a time', async ({ transport, create, fresh }) => {
      const topic = await create({ partitions: 1 })
      await transport.append(topic, [message('k', 'old')])
      const [old] = await take(transport, topic, 1)
      await until('the clock has moved', () => Date.now() > (old?.appendedAt ?? 0) + 1)
      const [late, timed]: [string[], string[]] = [[], []]
      await using _ = await transport.subscribe(
        topic,
        { group: fresh('latest'), from: 'latest' },
        each => void late.push(bodyOf(each)),
      )
      // The group is placed before subscribe resolves.
      await transport.append(topic, [message('k', 'new')])
      const time = (await take(transport, topic, 2))[1]?.appendedAt as number
      await using __ = await transport.subscribe(
        topic,
        { group: fresh('timed'), from: { time } },
        each => void timed.push(bodyOf(each)),
      )
      await until('both have got something', () => late.length > 0 && timed.length > 0)
      expect([late, timed]).toEqual([['new'], ['new']])
    })

    test('says NOT_FOUND for a topic that does not exist', async ({ transport, fresh }) => {
      const running = transport.subscribe({ name: fresh('missing') }, { group: fresh('group') }, () => {})
      await expect(running).rejects.toMatchObject({ code: 'NOT_FOUND' })
    })
  })

  describe('leaving', () => {
    test('finishes what is in hand, and does not give it again', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, [message('a', 'in hand'), message('a', 'not yet')])
      const [begun, finish] = [gate(), gate()]
      const running = await transport.subscribe(topic, { group }, async () => {
        begun.open()
        await finish.promise
      })
      await within('the first message', begun.promise)
      const left = running[Symbol.asyncDispose]()
      finish.open()
      await within('the member to leave', left)
      await within('done', running.done)
      const found: string[] = []
      await using _ = await transport.subscribe(topic, { group }, each => void found.push(bodyOf(each)))
      await until('the rest is handled', () => found.includes('not yet'))
      expect(found).toEqual(['not yet'])
    })

    test('tells work in hand by its signal, and gives what was given up to the next member', async ({
      transport,
      create,
      fresh,
    }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, [message('a', 'given up'), message('a', 'behind it'), message('b', 'done')])
      const [begun, done] = [gate(), gate()]
      const running = await transport.subscribe(
        topic,
        { group, retry: { maxAttempts: 1 } },
        async (each, { signal }) => {
          if (keyOf(each) === 'b') return done.open()
          begun.open()
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        },
      )
      await within('both in hand', Promise.all([begun.promise, done.promise]))
      await within('the member to leave', running[Symbol.asyncDispose]())
      const found: Received[] = []
      await using _ = await transport.subscribe(topic, { group }, each => void found.push(each))
      await settled(transport, group)
      expect(byKey(found).get('a')).toEqual(['given up', 'behind it'])
      const names = (await transport.admin.topics()).map(each => each.topic.name)
      if (names.includes(`${topic.name}.dlq`)) {
        const { first, end } = await transport.admin.describe({ name: `${topic.name}.dlq` })
        expect(first).toEqual(end)
      }
    })

    test('loses nothing by acknowledgements out of order', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, numbered(40, 40))
      const handled: string[] = []
      const running = await transport.subscribe(topic, { group, maxUnacked: 50 }, async (each, { signal }) => {
        // Every fourth, the first among them, is never finished by this member.
        if (Number(bodyOf(each)) % 4 === 0) {
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        }
        handled.push(bodyOf(each))
      })
      await until('all others are handled', () => handled.length === 30)
      await within('the member to leave', running[Symbol.asyncDispose]())
      await using _ = await transport.subscribe(topic, { group }, each => void handled.push(bodyOf(each)))
      await settled(transport, group)
      expect(new Set(handled)).toEqual(new Set(numbered(40).map(bodyOf)))
    })

    test('is harmless twice, and ends done', async ({ transport, create, fresh }) => {
      const running = await transport.subscribe(await create(), { group: fresh('group') }, () => {})
      await Promise.all([running[Symbol.asyncDispose](), running[Symbol.asyncDispose]()])
      await running[Symbol.asyncDispose]()
      await within('done', running.done)
    })
  })

  describe('watching', () => {
    test('lag() tells the truth about each partition that the member has', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create({ partitions: 2 }), fresh('group')]
      const begin = Date.now()
      await transport.append(topic, numbered(6, 1), { partition: 0 })
      const [hold, begun] = [gate(), gate()]
      await using running = await transport.subscribe(topic, { group }, async each => {
        if (bodyOf(each) === '2') begun.open()
        if (bodyOf(each) === '2') await hold.promise
      })
      await within('the third message', begun.promise)
      const held = await until('two are settled', async () => {
        const lags = await running.lag()
        return lags.some(each => each.messages === 4) && lags
      })
      expect(held.map(each => each.partition).sort()).toEqual([0, 1])
      const [busy, idle] = held.toSorted((a, b) => a.partition - b.partition)
      expect(busy).toMatchObject({ topic, messages: 4 })
      expect(busy?.movedAt).toBeGreaterThanOrEqual(begin - 1000)
      expect(idle).toMatchObject({ topic, messages: 0, ms: 0 })
      await until('the age of the oldest grows', async () => (await running.lag()).some(each => each.ms > 20))
      const moved = busy?.movedAt as number
      hold.open()
      const rest = await until('nothing is left', async () => {
        const lags = await running.lag()
        return lags.every(each => each.messages === 0) && lags
      })
      expect(rest.map(each => each.ms)).toEqual([0, 0])
      expect(rest.find(each => each.partition === 0)?.movedAt).toBeGreaterThanOrEqual(moved)
    })

    test('goes on after storage failed for a while', async ({ cluster, transport, create, fresh }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, numbered(20, 20))
      const [found, half] = [new Set<string>(), gate()]
      await using _ = await transport.subscribe(topic, { group, maxUnacked: 1 }, async each => {
        found.add(bodyOf(each))
        if (found.size === 10) await half.promise
      })
      await until('half is handled', () => found.size === 10)
      await cluster.failStorage()
      half.open()
      try {
        await expect(transport.append(topic, [message('k', 'lost', { value: bytes('20') })])).rejects.toMatchObject({
          code: 'UNAVAILABLE',
        })
      } finally {
        await cluster.healStorage()
      }
      await until('all are handled', () => found.size >= 20)
      await settled(transport, group)
    })
  })
}
