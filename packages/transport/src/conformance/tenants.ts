import { expect } from 'vitest'
import { bytes } from '../message.ts'
import type { Topic, Transport } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, contents, message, numbered, settled, take, until, within } from './observe.ts'

/** A client of a tenant can neither see nor touch what is another's; who enforces it is what `tenants` states. */
export function tenants(test: Cases) {
  test('lets a tenant do everything with its own topics', async ({ open, fresh }) => {
    const tenant = fresh('tenant')
    const client = await open({ tenant })
    const [input, output, group] = [{ name: 'input', tenant }, { name: 'output', tenant }, fresh('group')]
    await client.admin.ensure([input, output].map(topic => ({ topic, partitions: 2 })))
    await client.append(input, numbered(20))
    expect((await take(client, input, 20)).map(each => each.topic)).toContainEqual(input)
    await using _ = await client.transact([input], { group }, (batch, transaction) => {
      for (const each of batch) transaction.append(output, [message('k', bodyOf(each))])
    })
    const handled: string[] = []
    await using __ = await client.subscribe(output, { group: fresh('group') }, each => void handled.push(bodyOf(each)))
    await using writer = await client.writer(fresh('writer'))
    await writer.append(output, [{ sequence: 1n, message: message('k', 'written') }])
    await until('all went through', () => handled.length >= 21)
    expect((await client.admin.topics()).map(each => each.topic)).toEqual(expect.arrayContaining([input, output]))
    expect((await client.admin.groups()).length).toBeGreaterThan(0)
  })

  test('keeps topics of the same name apart', async ({ open, transport, fresh }) => {
    const [a, b] = [fresh('a'), fresh('b')]
    const topics: Topic[] = [
      { name: 'same', tenant: a },
      { name: 'same', tenant: b },
      { name: 'same', tenant: a, namespace: 'other' },
    ]
    await transport.admin.ensure(topics.map(topic => ({ topic, partitions: 1 })))
    for (const [i, topic] of topics.entries()) await transport.append(topic, [message('k', String(i))])
    for (const [i, topic] of topics.entries()) {
      const found = await contents(transport, topic)
      expect(found.map(each => [bodyOf(each), each.topic])).toEqual([[String(i), topic]])
    }
    expect(await contents(await open({ tenant: b }), topics[1] as Topic)).toHaveLength(1)
  })

  test('keeps groups, their state and writers of the same name apart', async ({ open, fresh }) => {
    const [group, own] = [fresh('group'), fresh('writer')]
    const seen: (string | undefined)[] = []
    await using members = new AsyncDisposableStack()
    const appends: (() => Promise<void>)[] = []
    for (const tenant of [fresh('a'), fresh('b')]) {
      const client = await open({ tenant })
      const [topic, other] = [
        { name: 'topic', tenant },
        { name: 'other', tenant },
      ]
      await client.admin.ensure([topic, other].map(each => ({ topic: each, partitions: 1 })))
      await client.append(topic, [message('k', tenant)])
      const running = await client.transact([topic], { group }, ([first], transaction) => {
        seen.push(transaction.get('s', bytes('k'))?.toString())
        transaction.set('s', bytes('k'), first?.value ?? undefined)
      })
      members.use(running)
      await settled(client, group)
      expect((await client.admin.groups()).filter(each => each.group === group)).toHaveLength(1)
      const writer = members.use(await client.writer(own))
      appends.push(() => writer.append(other, [{ sequence: 1n, message: message('k', 'v') }]))
    }
    expect(seen).toEqual([undefined, undefined])
    // Neither has fenced the other.
    for (const append of appends) await append()
  })

  test('hides what is not the tenant’s: topics, groups, even whether a topic exists', async ({
    open,
    transport,
    create,
    fresh,
  }) => {
    const [a, b] = [fresh('a'), fresh('b')]
    const [mine, other, nobodys, group] = [
      { name: 'mine', tenant: a },
      { name: 'other', tenant: b },
      await create(),
      fresh('group'),
    ]
    await transport.admin.ensure([mine, other].map(topic => ({ topic, partitions: 1 })))
    await transport.append(other, numbered(5))
    await using _ = await transport.subscribe(other, { group }, () => {})
    await settled(transport, group)
    const client = await open({ tenant: a })
    expect((await client.admin.topics()).map(each => each.topic)).toEqual([mine])
    expect(await client.admin.groups()).toEqual([])
    for (const topic of [other, { name: 'missing', tenant: b }, nobodys, { name: 'mine' }])
      await denied(client, topic, mine)
    expect((await contents(transport, other)).map(bodyOf).sort()).toEqual(['0', '1', '2', '3', '4'])
  })

  test('takes no dead letter and no output of a transaction across', async ({ open, transport, fresh }) => {
    const [a, b] = [fresh('a'), fresh('b')]
    const [mine, other] = [
      { name: 'mine', tenant: a },
      { name: 'other', tenant: b },
    ]
    await transport.admin.ensure([mine, other].map(topic => ({ topic, partitions: 1 })))
    const client = await open({ tenant: a })
    await client.append(mine, numbered(3))
    const wrong = { group: fresh('group'), deadLetters: other, retry: { maxAttempts: 1 } }
    await expect(client.subscribe(mine, wrong, () => {})).rejects.toMatchObject({ code: 'DENIED' })
    await expect(client.transact([mine], wrong, () => {})).rejects.toMatchObject({ code: 'DENIED' })
    const group = fresh('group')
    await using _ = await client.transact([mine], { group, retry: { maxAttempts: 1 } }, (_batch, transaction) => {
      transaction.append(other, [message('k', 'smuggled')])
    })
    await settled(client, group)
    expect(await contents(transport, other)).toEqual([])
  })

  async function denied(client: Transport, topic: Topic, mine: Topic) {
    const verbs: Record<string, () => Promise<unknown>> = {
      append: () => client.append(topic, numbered(1)),
      read: () => client.read(topic, { from: 'earliest' })[Symbol.asyncIterator]().next(),
      subscribe: () => client.subscribe(topic, { group: 'g' }, () => {}),
      transact: () => client.transact([mine, topic], { group: 'g' }, () => {}),
      write: async () => {
        await using writer = await client.writer('w')
        await writer.append(topic, [{ sequence: 1n, message: message('k', 'v') }])
      },
      last: async () => {
        await using writer = await client.writer('w')
        await writer.last(topic)
      },
      ensure: () => client.admin.ensure([{ topic, partitions: 1 }]),
      alter: () => client.admin.alter([{ topic, partitions: 1 }]),
      reset: () => client.admin.reset('g', topic, 'earliest'),
      describe: () => client.admin.describe(topic),
      positions: () => client.admin.positions(topic, 'latest'),
    }
    for (const [verb, call] of Object.entries(verbs)) {
      const outcome = await within(
        verb,
        call().then(
          () => 'allowed',
          error => error.code ?? error,
        ),
      )
      expect(`${verb}: ${outcome}`).toBe(`${verb}: DENIED`)
    }
  }
}
