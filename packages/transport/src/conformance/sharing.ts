import { describe, expect } from 'vitest'
import type { Guarantees, Received, Running } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, gate, keyOf, message, numbered, settled, until, within } from './observe.ts'

/** How members of a group share: keys, hand-overs to and from the living and the dead, and the four modes. */
export function sharing(test: Cases, guarantees: Guarantees) {
  if (guarantees.keyShared)
    describe('key-shared', () => {
      test('shares keys among members, one member at a time for a key, in order', async ({
        open,
        transport,
        create,
        fresh,
      }) => {
        const [topic, group] = [await create(), fresh('group')]
        const [handled, by, busy]: [Received[], Set<string>[], Set<string>] = [[], [new Set(), new Set()], new Set()]
        let doubled = false
        await using members = new AsyncDisposableStack()
        for (const member of by) {
          const client = await open()
          members.use(
            await client.subscribe(topic, { group }, async each => {
              const key = keyOf(each) as string
              doubled ||= busy.has(key)
              busy.add(key)
              await new Promise(setImmediate)
              busy.delete(key)
              member.add(key)
              handled.push(each)
            }),
          )
        }
        let sent = 0
        await until('both members have got something', async () => {
          await transport.append(topic, numbered(40, 40, sent))
          sent += 40
          return by.every(member => member.size > 0)
        })
        await settled(transport, group)
        expect(doubled).toBe(false)
        expect(byKey(handled)).toEqual(byKey(numbered(sent, 40)))
      })

      test('loses and doubles nothing, and keeps the order, while members join and leave', async ({
        open,
        transport,
        create,
        fresh,
      }) => {
        const [topic, group] = [await create(), fresh('group')]
        const handled: Received[] = []
        const members: Running[] = []
        let sent = 0
        const goOn = async () => {
          const before = handled.length
          await until('the group goes on', async () => {
            await transport.append(topic, numbered(30, 15, sent))
            sent += 30
            return handled.length > before + 30
          })
        }
        for (const change of ['join', 'join', 'leave', 'join', 'leave', 'leave', 'join'] as const) {
          if (change === 'join') {
            const client = await open()
            members.push(
              await client.subscribe(topic, { group }, async each => {
                await new Promise(setImmediate)
                handled.push(each)
              }),
            )
          } else {
            await within('a member to leave', (members.shift() as Running)[Symbol.asyncDispose]())
          }
          if (members.length > 0) await goOn()
        }
        await settled(transport, group)
        for (const member of members) await member[Symbol.asyncDispose]()
        expect(byKey(handled)).toEqual(byKey(numbered(sent, 15)))
      })

      test('hands the keys of a dead member on, in order', async ({ transport, create, fresh, spawn }) => {
        const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
        await transport.append(topic, numbered(80, 8))
        const child = spawn('member', { topic, group, hang: 'k3' })
        await until('the child has handled all but the key it hangs in', () => child.of('handled').length === 70)
        expect(child.of('begun').map(([value]) => value)).toContain('3')
        const handled: Received[] = []
        await using _ = await transport.subscribe(topic, { group }, each => void handled.push(each))
        await child.kill()
        await transport.append(topic, numbered(80, 8, 80))
        await settled(transport, group)
        for (const [key, values] of byKey(numbered(160, 8))) {
          const found = byKey(handled).get(key) ?? []
          // Some may come again; what comes is in order and without a gap to the end.
          expect(found).toEqual(values.slice(values.length - found.length))
        }
        expect(byKey(handled).get('k3')?.[0]).toBe('3')
      })

      test('gives again what a crash left unacknowledged', async ({ transport, create, fresh, spawn }) => {
        const [topic, group] = [await create(), fresh('group')]
        await transport.append(topic, numbered(20, 20))
        const child = spawn('member', { topic, group, hang: '*', maxUnacked: 100 })
        await until('the child has all in hand', () => child.of('begun').length === 20)
        await child.kill()
        const handled: Received[] = []
        await using _ = await transport.subscribe(topic, { group }, each => void handled.push(each))
        await settled(transport, group)
        expect(byKey(handled)).toEqual(byKey(numbered(20, 20)))
      })

      test('lets a member that was replaced while it slept acknowledge nothing any more', async ({
        transport,
        create,
        fresh,
        spawn,
      }) => {
        const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
        await transport.append(topic, numbered(20, 20))
        const child = spawn('member', { topic, group, hold: true })
        await until('the child has all in hand', () => child.of('begun').length === 20)
        child.stop()
        let begun = 0
        const running = await transport.subscribe(topic, { group }, async (_, { signal }) => {
          begun++
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        })
        await until('another has all in hand', () => begun === 20)
        child.resume()
        // It learns that it lost them, finishes all the same, and leaves.
        await until('the child is told', () => child.of('aborted').length === 20)
        child.say('finish')
        await until('the child has finished all', () => child.of('handled').length === 20)
        child.say('leave')
        await child.ended()
        await within('the member to leave', running[Symbol.asyncDispose]())
        const handled: Received[] = []
        await using _ = await transport.subscribe(topic, { group }, each => void handled.push(each))
        await settled(transport, group)
        expect(byKey(handled)).toEqual(byKey(numbered(20, 20)))
      })

      test('a group on two topics shares each among those who are there for it', async ({
        open,
        transport,
        create,
        fresh,
      }) => {
        const [one, other, group] = [await create(), await create({ partitions: 2 }), fresh('group')]
        await transport.append(one, numbered(40, 20))
        await transport.append(other, numbered(40, 20))
        const found: [Received[], Received[]] = [[], []]
        await using _ = await transport.subscribe(one, { group }, each => void found[0].push(each))
        await using __ = await (await open()).subscribe(other, { group }, each => void found[1].push(each))
        await until('both topics are handled', () => found.every(each => each.length >= 40))
        await settled(transport, group)
        for (const each of found) expect(byKey(each)).toEqual(byKey(numbered(40, 20)))
      })

      test('two members of one client share as well', async ({ transport, create, fresh }) => {
        const [topic, group] = [await create(), fresh('group')]
        const handled: [Received[], Received[]] = [[], []]
        await using _ = await transport.subscribe(topic, { group }, each => void handled[0].push(each))
        await using __ = await transport.subscribe(topic, { group }, each => void handled[1].push(each))
        let sent = 0
        await until('both have got something', async () => {
          await transport.append(topic, numbered(40, 40, sent))
          sent += 40
          return handled.every(each => each.length > 0)
        })
        await settled(transport, group)
        expect(byKey(handled.flat().sort((a, b) => Number(bodyOf(a)) - Number(bodyOf(b))))).toEqual(
          byKey(numbered(sent, 40)),
        )
      })
    })

  describe('exclusive', () => {
    test('refuses a second member, and takes one when the first has left', async ({
      open,
      transport,
      create,
      fresh,
    }) => {
      const [topic, group] = [await create(), fresh('group')]
      const [client, mode] = [await open(), 'exclusive' as const]
      const first = await transport.subscribe(topic, { group, mode }, () => {})
      await expect(client.subscribe(topic, { group, mode }, () => {})).rejects.toMatchObject({ code: 'FENCED' })
      await transport.append(topic, numbered(10))
      await settled(transport, group)
      await first[Symbol.asyncDispose]()
      const handled: Received[] = []
      await using _ = await client.subscribe(topic, { group, mode }, each => void handled.push(each))
      await transport.append(topic, numbered(10, 10, 10))
      await until('the new one handles', () => handled.length >= 10)
      expect(byKey(handled)).toEqual(byKey(numbered(10, 10, 10)))
    })

    test('takes another when the first has died, and refuses the first when it was only asleep', async ({
      transport,
      create,
      fresh,
      spawn,
    }) => {
      const [topic, group, mode] = [await create(), fresh('group'), 'exclusive' as const]
      const child = spawn('member', { topic, group, mode })
      await child.first('joined')
      child.stop()
      const handled: Received[] = []
      const running = await until('the sleeper is replaced', () =>
        transport
          .subscribe(topic, { group, mode }, each => void handled.push(each))
          .catch(error => {
            expect(error).toMatchObject({ code: 'FENCED' })
          }),
      )
      await using _ = running
      child.resume()
      // It can't go on: its `done` rejects.
      expect(await child.first('refused')).toContain('FENCED')
      await transport.append(topic, numbered(20))
      await settled(transport, group)
      expect(byKey(handled)).toEqual(byKey(numbered(20)))
      expect(child.of('handled')).toEqual([])
    })
  })

  describe('failover', () => {
    test('gives a partition to one member, and to a stand-by when that one leaves or dies', async ({
      transport,
      create,
      fresh,
      spawn,
    }) => {
      const [topic, group, mode] = [await create({ partitions: 1 }), fresh('group'), 'failover' as const]
      const child = spawn('member', { topic, group, mode })
      await child.first('joined')
      await transport.append(topic, numbered(10))
      await until('the first handles', () => child.of('handled').length === 10)
      const [second, third]: [Received[], Received[]] = [[], []]
      const standBy = await transport.subscribe(topic, { group, mode }, each => void second.push(each))
      await transport.append(topic, numbered(10, 10, 10))
      await until('the first handles more', () => child.of('handled').length === 20)
      expect(second).toEqual([])
      await child.kill()
      await transport.append(topic, numbered(10, 10, 20))
      await until('the stand-by handles', () => second.some(each => bodyOf(each) === '29'))
      await settled(transport, group)
      await using _ = await transport.subscribe(topic, { group, mode }, each => void third.push(each))
      await standBy[Symbol.asyncDispose]()
      await transport.append(topic, numbered(10, 10, 30))
      await until('the next stand-by handles', () => third.length >= 10)
      expect(byKey(third)).toEqual(byKey(numbered(10, 10, 30)))
    })
  })

  describe('shared', () => {
    test('lets one slow message hold back no other, not even of its key', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create({ partitions: 1 }), fresh('group')]
      await transport.append(topic, numbered(50, 1))
      const [handled, hold]: [string[], ReturnType<typeof gate>] = [[], gate()]
      await using _ = await transport.subscribe(topic, { group, mode: 'shared', maxUnacked: 10 }, async each => {
        if (bodyOf(each) === '0') await hold.promise
        handled.push(bodyOf(each))
      })
      await until('all others are handled', () => handled.length === 49)
      hold.open()
      await settled(transport, group)
      expect(handled.sort((a, b) => Number(a) - Number(b))).toEqual(numbered(50).map(bodyOf))
    })

    test('retries and dead-letters as the other modes do', async ({ transport, create, fresh }) => {
      const [topic, group] = [await create(), fresh('group')]
      await transport.append(topic, [message('k', 'bad'), message('k', 'good')])
      const handled: string[] = []
      const retry = { maxAttempts: 3, minMs: 1, maxMs: 5 }
      await using _ = await transport.subscribe(topic, { group, mode: 'shared', retry }, each => {
        handled.push(bodyOf(each))
        if (bodyOf(each) === 'bad') throw new Error('bad')
      })
      await settled(transport, group)
      expect(handled.toSorted()).toEqual(['bad', 'bad', 'bad', 'good'])
      expect((await contents(transport, { name: `${topic.name}.dlq` })).map(bodyOf)).toEqual(['bad'])
    })
  })
}
