import { expect } from 'vitest'
import type { From, Position, Topic, Transport } from '../transport.ts'
import { counted, counting } from './counting.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, gate, numbered, settled, until, within } from './observe.ts'

/** Putting a group elsewhere: all of it or none, and only while nobody is at work in it. */
export function reset(test: Cases) {
  /** What a group is handed until it has nothing left. */
  const rest = async (transport: Transport, topic: Topic, group: string): Promise<string[]> => {
    const handled: string[] = []
    await using _ = await transport.subscribe(topic, { group }, each => void handled.push(bodyOf(each)))
    await settled(transport, group)
    return handled.sort()
  }
  const bodies = (from: number, count: number) => numbered(count, 10, from).map(bodyOf).sort()

  test('puts a group where a reader from there starts, and tells where it was', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create({ partitions: 3 }), fresh('group')]
    await transport.append(topic, numbered(30))
    expect(await rest(transport, topic, group)).toEqual(bodies(0, 30))
    const { first, end } = await transport.admin.describe(topic)
    const back = await transport.admin.reset(group, topic, 'earliest')
    expect(back).toEqual({ moved: end.map((was, i) => ({ was, now: first[i] })), stateful: false })
    expect(await rest(transport, topic, group)).toEqual(bodies(0, 30))

    const last = Math.max(...(await contents(transport, topic)).map(({ appendedAt }) => appendedAt))
    await until('the clock has moved', () => Date.now() > last + 1)
    const [, , third] = await transport.append(topic, numbered(5, 5, 100), { partition: 1 })
    for (const to of ['latest', { time: last + 1 }, { after: [third as Position] }] satisfies From[]) {
      const { moved } = await transport.admin.reset(group, topic, to)
      expect(moved.map(({ now }) => now)).toEqual(await transport.admin.positions(topic, to))
    }
    const only = await transport.admin.reset(group, topic, { after: [third as Position] }, { partitions: [1] })
    expect(only.moved.map(({ now }) => now)).toEqual([third])
    await transport.admin.reset(group, topic, 'latest', { partitions: [0, 2] })
    expect(await rest(transport, topic, group)).toEqual(['103', '104'])
  })

  test('changes nothing when it is only asked what it would do', async ({ transport, create, fresh }) => {
    const [topic, group] = [await create({ partitions: 2 }), fresh('group')]
    await transport.append(topic, numbered(10))
    await rest(transport, topic, group)
    const would = await transport.admin.reset(group, topic, 'earliest', { dryRun: true })
    expect(await rest(transport, topic, group)).toEqual([])
    expect(await transport.admin.reset(group, topic, 'earliest')).toEqual(would)
    expect(await rest(transport, topic, group)).toEqual(bodies(0, 10))
  })

  test('refuses while the group has members, naming them, and then moves nothing', async ({
    open,
    transport,
    create,
    fresh,
  }) => {
    const [topic, group, clientId] = [await create(), fresh('group'), fresh('client')]
    await transport.append(topic, numbered(10))
    const [begun, hold] = [gate(), gate()]
    let handled = 0
    const running = await (await open({ clientId })).subscribe(topic, { group, maxUnacked: 1 }, async () => {
      handled++
      begun.open()
      await hold.promise
    })
    await within('the first message', begun.promise)
    for (const dryRun of [true, false])
      await expect(transport.admin.reset(group, topic, 'earliest', { dryRun })).rejects.toMatchObject({
        code: 'INVALID',
        message: expect.stringContaining(clientId),
      })
    hold.open()
    await settled(transport, group)
    await running[Symbol.asyncDispose]()
    expect(handled).toBe(10)
    await transport.admin.reset(group, topic, 'earliest')
    expect(await rest(transport, topic, group)).toEqual(bodies(0, 10))
  })

  test('refuses what is not there: a topic, a group that was never in it, a partition, a position', async ({
    transport,
    create,
    fresh,
  }) => {
    const [topic, other, group] = [await create({ partitions: 2 }), await create(), fresh('group')]
    await rest(transport, topic, group)
    const { reset } = transport.admin
    await expect(reset(group, { name: fresh('missing') }, 'earliest')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(reset(fresh('group'), topic, 'earliest')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(reset(group, other, 'earliest')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(reset('', topic, 'earliest')).rejects.toMatchObject({ code: 'INVALID' })
    await expect(reset(group, topic, 'earliest', { partitions: [2] })).rejects.toMatchObject({ code: 'INVALID' })
    const [beyond] = await transport.append(other, numbered(50), { partition: 0 }).then(all => all.slice(-1))
    await expect(reset(group, topic, { after: [beyond as Position] })).rejects.toMatchObject({ code: 'POSITION_GONE' })
  })

  test('leaves a member that only slept no way to undo it', async ({ transport, create, fresh, spawn }) => {
    const [input, output, group] = [await create({ partitions: 1 }), await create({ partitions: 1 }), fresh('group')]
    await transport.append(input, numbered(10, 2))
    const child = spawn('sleeper', { topics: [input], output, group })
    await child.first('inside')
    child.stop()
    await until('the sleeper counts as gone', () =>
      transport.admin.reset(group, input, 'latest').catch(error => {
        if (error.code !== 'INVALID') throw error
      }),
    )
    child.resume()
    child.say('commit')
    await child.first('returned')
    child.say('leave')
    await child.ended()
    await transport.append(input, numbered(6, 2, 10))
    await using _ = await transport.transact([input], { group }, counting(output))
    await settled(transport, group)
    const found = await contents(transport, output)
    expect(found.map(bodyOf)).not.toContain('by the sleeper')
    expect(byKey(found)).toEqual(counted(numbered(6, 2, 10)))
  })

  test('says that a group keeps state, which stays', async ({ transport, create, fresh }) => {
    const [input, output, group] = [await create({ partitions: 2 }), await create({ partitions: 1 }), fresh('group')]
    await transport.append(input, numbered(4, 1))
    const count = async () => {
      await using _ = await transport.transact([input], { group }, counting(output))
      await settled(transport, group)
    }
    await count()
    const { stateful } = await transport.admin.reset(group, input, 'earliest')
    expect(stateful).toBe(true)
    await count()
    const [values] = byKey(await contents(transport, output)).values()
    expect(values?.map(each => each.split(':')[1])).toEqual(['1', '2', '3', '4', '5', '6', '7', '8'])
  })
}
