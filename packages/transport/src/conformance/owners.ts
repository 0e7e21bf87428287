import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Running } from '../transport.ts'
import { counted, counting } from './counting.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, gate, numbered, settled, until, within } from './observe.ts'

/** Who owns a partition in `transact`: one at a time, whoever joins, leaves, dies or sleeps. */
export function owners(test: Cases) {
  test('never processes a partition twice at once, whoever joins or leaves, and counts each message once', async ({
    open,
    transport,
    create,
    fresh,
  }) => {
    const [input, output, group] = [await create(), await create(), fresh('group')]
    const [busy, count] = [new Set<number>(), counting(output)]
    let [doubled, sent] = [false, 0]
    const members: Running[] = []
    const goOn = async () => {
      const { end } = await transport.admin.describe(output)
      await until('the group goes on', async () => {
        await transport.append(input, numbered(40, 20, sent))
        sent += 40
        const now = (await transport.admin.describe(output)).end
        return now.every((position, i) => transport.compare(position, end[i] as typeof position) > 0)
      })
    }
    for (const change of ['join', 'join', 'leave', 'join', 'join', 'leave', 'leave', 'leave', 'join'] as const) {
      if (change === 'join') {
        const client = await open()
        members.push(
          await client.transact([input], { group, commitEvery: { messages: 25 } }, async (batch, transaction) => {
            doubled ||= busy.has(transaction.partition)
            busy.add(transaction.partition)
            // As long as it takes another to claim what is not given back properly.
            await sleep(20)
            await count(batch, transaction)
            busy.delete(transaction.partition)
          }),
        )
      } else {
        await within('a member to leave', (members.shift() as Running)[Symbol.asyncDispose]())
      }
      if (members.length > 0) await goOn()
    }
    await settled(transport, group)
    for (const member of members) await member[Symbol.asyncDispose]()
    expect(doubled).toBe(false)
    expect(byKey(await contents(transport, output))).toEqual(counted(numbered(sent, 20)))
  })

  test('fences an owner that was replaced while it slept: nothing of it gets in', async ({
    transport,
    create,
    fresh,
    spawn,
  }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create({ partitions: 1 }), fresh('group')]
    await transport.append(input, numbered(10, 2))
    const child = spawn('sleeper', { topics: [input], output, group })
    await child.first('inside')
    child.stop()
    const count = counting(output)
    await using running = await transport.transact([input], { group }, count)
    await settled(transport, group)
    expect(byKey(await contents(transport, output))).toEqual(counted(numbered(10, 2)))
    // It wakes in the middle of its transaction, which it now tries to commit.
    child.resume()
    child.say('commit')
    await child.first('returned')
    await transport.append(input, numbered(10, 2, 10))
    await settled(transport, group)
    child.say('leave')
    await child.ended()
    await running[Symbol.asyncDispose]()
    const found = await contents(transport, output)
    expect(found.map(bodyOf)).not.toContain('by the sleeper')
    expect(byKey(found)).toEqual(counted(numbered(20, 2)))
    expect(child.of('state')).toEqual([])
  })

  test('hands a partition on with what it had not committed, when its owner dies inside process', async ({
    transport,
    create,
    fresh,
    spawn,
  }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
    await transport.append(input, numbered(30, 3))
    const child = spawn('sleeper', { topics: [input], output, group })
    await child.first('inside')
    await using _ = await transport.transact([input], { group }, counting(output))
    await child.kill()
    await settled(transport, group)
    expect(byKey(await contents(transport, output))).toEqual(counted(numbered(30, 3)))
  })

  test('finishes or takes back what is in flight when it is disposed', async ({ transport, create, fresh }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
    await transport.append(input, numbered(20, 2))
    const [begun, finish, count] = [gate(), gate(), counting(output)]
    const running = await transport.transact([input], { group }, async (batch, transaction) => {
      await count(batch, transaction)
      begun.open()
      await finish.promise
    })
    await within('the first batch', begun.promise)
    const left = running[Symbol.asyncDispose]()
    finish.open()
    await within('the member to leave', left)
    await within('done', running.done)
    await using _ = await transport.transact([input], { group }, count)
    await settled(transport, group)
    expect(byKey(await contents(transport, output))).toEqual(counted(numbered(20, 2)))
  })

  test('tells process by its signal that the partition is given up, and dead-letters nothing by it', async ({
    transport,
    create,
    fresh,
  }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
    const deadLetters = await create()
    await transport.append(input, numbered(20, 2))
    const begun = gate()
    const options = { group, deadLetters, retry: { maxAttempts: 1 } }
    const running = await transport.transact([input], options, async (_batch, { signal }) => {
      begun.open()
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    })
    await within('the first batch', begun.promise)
    await within('the member to leave', running[Symbol.asyncDispose]())
    await using _ = await transport.transact([input], { group }, counting(output))
    await settled(transport, group)
    expect(byKey(await contents(transport, output))).toEqual(counted(numbered(20, 2)))
    expect(await contents(transport, deadLetters)).toEqual([])
  })

  test('refuses topics that do not exist', async ({ transport, create, fresh }) => {
    const [input, group] = [await create(), fresh('group')]
    const running = transport.transact([input, { name: fresh('missing') }], { group }, () => {})
    await expect(running).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('starts a new group where it is told to', async ({ transport, create, fresh }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
    const positions = await transport.append(input, numbered(20))
    const from = { after: [positions[14] as (typeof positions)[number]] }
    await using _ = await transport.transact([input], { group, from }, counting(output))
    await settled(transport, group)
    expect((await contents(transport, output)).map(bodyOf).sort()).toEqual(['15:1', '16:1', '17:1', '18:1', '19:1'])
  })

  test('lag() tells the truth', async ({ transport, create, fresh }) => {
    const [input, group] = [await create({ partitions: 1 }), fresh('group')]
    await transport.append(input, numbered(10))
    const [begun, hold] = [gate(), gate()]
    await using running = await transport.transact([input], { group, commitEvery: { messages: 4 } }, async batch => {
      if (!batch.some(each => bodyOf(each) === '5')) return
      begun.open()
      await hold.promise
    })
    await within('the batch of the sixth message', begun.promise)
    const behind = await until('there is lag', async () => (await running.lag()).find(each => each.messages > 0))
    expect(behind).toMatchObject({ topic: input, partition: 0 })
    expect(behind.messages).toBeGreaterThanOrEqual(5)
    expect(behind.messages).toBeLessThanOrEqual(10)
    await until('the age of the oldest grows', async () => (await running.lag()).some(each => each.ms > 20))
    hold.open()
    await until('there is none', async () => (await running.lag()).every(each => each.messages === 0 && each.ms === 0))
  })
}
