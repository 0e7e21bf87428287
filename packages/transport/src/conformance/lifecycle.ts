import { expect } from 'vitest'
import type { Guarantees } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, contents, gate, message, numbered, until, within } from './observe.ts'

/** Beginning and end of a client: what it states of itself, and that closing it leaves nothing hanging. */
export function lifecycle(test: Cases, guarantees: Guarantees) {
  test('states the guarantees that the suite was told', async ({ transport }) => {
    expect(transport.guarantees).toEqual(guarantees)
  })

  test('is the same cluster to every client, now and later', async ({ cluster, open, transport }) => {
    expect(transport.cluster).not.toBe('')
    expect((await open()).cluster).toBe(transport.cluster)
    const client = await cluster.open()
    await client[Symbol.asyncDispose]()
    expect((await open()).cluster).toBe(transport.cluster)
  })

  test('closes twice without harm, also at once', async ({ cluster, transport, create }) => {
    const topic = await create()
    const client = await cluster.open()
    await client.append(topic, numbered(1))
    await Promise.all([client[Symbol.asyncDispose](), client[Symbol.asyncDispose]()])
    await client[Symbol.asyncDispose]()
    // The others live on.
    await transport.append(topic, numbered(1))
    expect(await contents(transport, topic)).toHaveLength(2)
  })

  test('rejects every verb with CLOSED after it was closed', async ({ cluster, create, fresh }) => {
    const topic = await create()
    const client = await cluster.open()
    await client[Symbol.asyncDispose]()
    const group = fresh('group')
    const verbs: Record<string, () => Promise<unknown>> = {
      append: () => client.append(topic, numbered(1)),
      'append of nothing': () => client.append(topic, []),
      read: () => client.read(topic, { from: 'earliest' })[Symbol.asyncIterator]().next(),
      subscribe: () => client.subscribe(topic, { group }, () => {}),
      transact: () => client.transact([topic], { group }, () => {}),
      writer: () => client.writer(fresh('writer')),
      ensure: () => client.admin.ensure([{ topic, partitions: 4 }]),
      topics: () => client.admin.topics(),
      describe: () => client.admin.describe(topic),
      positions: () => client.admin.positions(topic, 'latest'),
      groups: () => client.admin.groups(),
    }
    for (const [verb, call] of Object.entries(verbs)) {
      const outcome = await within(
        verb,
        (async () => call())().then(
          () => 'allowed',
          error => error.code ?? error,
        ),
      )
      expect(`${verb}: ${outcome}`).toBe(`${verb}: CLOSED`)
    }
  })

  test('keeps what it acknowledged when it is closed in the middle of appends', async ({
    cluster,
    transport,
    create,
  }) => {
    const topic = await create()
    const client = await cluster.open()
    const messages = numbered(200)
    const calls = messages.map(each => client.append(topic, [each]))
    await calls[0]
    const closed = client[Symbol.asyncDispose]()
    const outcomes = await within('all appends to settle', Promise.allSettled(calls))
    await within('the client to close', closed)
    const found = new Set((await contents(transport, topic)).map(bodyOf))
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') expect(found).toContain(String(i))
      else expect(outcome.reason).toMatchObject({ code: 'CLOSED' })
    }
  })

  test('ends its readers, members and writers when it is closed', async ({ cluster, transport, create, fresh }) => {
    const [topic, input, group] = [await create(), await create(), fresh('group')]
    const client = await cluster.open()
    await client.append(topic, numbered(20))
    const [handled, tailing]: [string[], ReturnType<typeof gate>] = [[], gate()]
    const reading = (async () => {
      let count = 0
      for await (const batch of client.read(topic, { from: 'earliest' })) {
        count += batch.length
        if (count >= 20) tailing.open()
      }
    })()
    const ended = Promise.allSettled([reading])
    const member = await client.subscribe(topic, { group }, each => void handled.push(bodyOf(each)))
    const owner = await client.transact([input], { group: fresh('group') }, () => {})
    const writer = await client.writer(fresh('writer'))
    await within('the reader', tailing.promise)
    await until('all is handled', () => handled.length === 20)
    await within('the client to close', client[Symbol.asyncDispose]())
    await within('the reader to end', ended)
    await within('done', Promise.all([member.done, owner.done]))
    await expect(writer.append(topic, [{ sequence: 1n, message: message('k', 'v') }])).rejects.toMatchObject({
      code: 'CLOSED',
    })
    await transport.append(topic, numbered(10, 10, 20))
    await using _ = await transport.subscribe(topic, { group }, each => void handled.push(bodyOf(each)))
    await until('the rest is handled by another', () => handled.length >= 30)
    expect(new Set(handled)).toEqual(new Set(numbered(30).map(bodyOf)))
  })
}
