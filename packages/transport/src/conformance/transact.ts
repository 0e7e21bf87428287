import { describe, expect } from 'vitest'
import { HEADERS, header, headerOf } from '../message.ts'
import { type Received, WeftError } from '../transport.ts'
import { counted, counting } from './counting.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, gate, message, numbered, settled, take, until, within } from './observe.ts'

const soon = { minMs: 1, maxMs: 5 }

/** What `transact` promises: outputs, positions and state together or not at all, by one owner. */
export function transact(test: Cases) {
  describe('all or nothing', () => {
    test('processes each message once when nothing fails', async ({ transport, create, fresh }) => {
      const [input, output, group] = [await create(), await create(), fresh('group')]
      await transport.append(input, numbered(300))
      await using _ = await transport.transact([input], { group }, counting(output))
      await transport.append(input, numbered(200, 10, 300))
      await settled(transport, group)
      expect(byKey(await contents(transport, output))).toEqual(counted(numbered(500)))
    })

    test('leaves outputs with an end that a reader reaches, also behind what was taken back', async ({
      transport,
      create,
      fresh,
    }) => {
      const [input, output, group] = [await create({ partitions: 1 }), await create({ partitions: 1 }), fresh('group')]
      await transport.append(input, numbered(20))
      let failures = 0
      await using _ = await transport.transact([input], { group, retry: soon }, async (batch, transaction) => {
        transaction.append(output, batch)
        await new Promise(setImmediate)
        if (failures++ < 1) throw new Error('taken back')
      })
      await settled(transport, group)
      const all = await take(transport, output, 20)
      const { end } = await transport.admin.describe(output)
      const found: Received[] = []
      const reading = (async () => {
        for await (const batch of transport.read(output, { from: 'earliest', to: end })) found.push(...batch)
      })()
      await within('the reader to end', reading)
      expect(found).toEqual(all)
    })

    test('gives the messages of a partition whole, in order', async ({ cluster, transport, create, fresh }) => {
      const [input, found] = [await create({ partitions: 1 }), [] as Received[]]
      const sent = [
        message('k', '', { value: null, headers: [header('a', '1'), header('a', '2')] }),
        message(undefined, 'v', { schema: cluster.schemas[0], time: -5 }),
      ]
      const positions = await transport.append(input, sent)
      await using _ = await transport.transact([input], { group: fresh('group') }, batch => void found.push(...batch))
      await until('both came', () => found.length >= 2)
      const read = await take(transport, input, 2)
      expect(found).toEqual(read)
      expect(found.map(each => each.position)).toEqual(positions)
    })

    test('takes back outputs and state of a batch that throws, and tries it again', async ({
      transport,
      create,
      fresh,
    }) => {
      const [input, output, group] = [await create(), await create(), fresh('group')]
      await transport.append(input, numbered(100))
      const attempts = new Map<number, number>()
      const count = counting(output)
      await using _ = await transport.transact([input], { group, retry: soon }, async (batch, transaction) => {
        const attempt = (attempts.get(transaction.partition) ?? 0) + 1
        attempts.set(transaction.partition, attempt)
        await count(batch, transaction)
        await new Promise(setImmediate)
        if (attempt <= 2) throw new Error('after all was done')
      })
      await settled(transport, group)
      expect(byKey(await contents(transport, output))).toEqual(counted(numbered(100)))
    })

    test('never shows outputs that were taken back', async ({ open, transport, create, fresh }) => {
      const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
      const [reader, stop, seen] = [await open(), new AbortController(), [] as string[]]
      const reading = (async () => {
        for await (const batch of reader.read(output, { from: 'earliest', signal: stop.signal }))
          seen.push(...batch.map(bodyOf))
      })()
      await transport.append(input, [message('k', 'v')])
      let attempt = 0
      await using _ = await transport.transact(
        [input],
        { group, retry: { ...soon, maxAttempts: 10 } },
        async (_batch, transaction) => {
          attempt++
          for (let i = 0; i < 20; i++) transaction.append(output, [message(`k${i}`, String(attempt))])
          await new Promise(setImmediate)
          if (attempt < 5) throw new Error('taken back')
        },
      )
      await until('all came', () => seen.length >= 20)
      await settled(transport, group)
      expect((await contents(transport, output)).map(bodyOf)).toEqual(Array.from({ length: 20 }, () => '5'))
      stop.abort()
      await reading
      expect(new Set(seen.filter(value => value !== ''))).toEqual(new Set(['5']))
    })

    test('shows outputs only when process has returned', async ({ open, transport, create, fresh }) => {
      const [input, output, other] = [await create({ partitions: 1 }), await create(), await create()]
      const [reader, events] = [await open(), [] as string[]]
      await transport.append(input, [message('k', 'v')])
      const seeing = take(reader, output, 4).then(() => events.push('seen'))
      await using _ = await transport.transact([input], { group: fresh('group') }, async (_batch, transaction) => {
        transaction.append(output, numbered(4))
        // The time in which a reader would see them: round trips through another topic.
        for (let trip = 1; trip <= 5; trip++) {
          await transport.append(other, numbered(8))
          await take(reader, other, 8 * trip)
        }
        events.push('returned')
      })
      await seeing
      expect(events).toEqual(['returned', 'seen'])
    })

    test('keeps the order in which a transaction appended, and puts messages where it says', async ({
      transport,
      create,
      fresh,
    }) => {
      const [input, output, pinned, group] = [
        await create({ partitions: 1 }),
        await create(),
        await create(),
        fresh('group'),
      ]
      await transport.append(input, numbered(50, 1))
      await using _ = await transport.transact([input], { group }, (batch, transaction) => {
        for (const each of batch) {
          transaction.append(output, [message('a', `${bodyOf(each)}.1`), message('b', `${bodyOf(each)}.1`)])
          transaction.append(output, [message('a', `${bodyOf(each)}.2`)])
          transaction.append(pinned, [message('a', bodyOf(each))], { partition: 3 })
        }
      })
      await settled(transport, group)
      const values = byKey(await contents(transport, output))
      expect(values.get('a')).toEqual(numbered(50).flatMap(each => [`${bodyOf(each)}.1`, `${bodyOf(each)}.2`]))
      expect(values.get('b')).toEqual(numbered(50).map(each => `${bodyOf(each)}.1`))
      const found = await contents(transport, pinned)
      expect(found.map(bodyOf)).toEqual(numbered(50).map(bodyOf))
      expect(new Set(found.map(each => each.position.partition))).toEqual(new Set([3]))
    })

    test('may append to its own input, and gets that too', async ({ transport, create, fresh }) => {
      const [input, group] = [await create(), fresh('group')]
      const found: string[] = []
      await using _ = await transport.transact([input], { group }, (batch, transaction) => {
        for (const each of batch) {
          found.push(bodyOf(each))
          if (Number(bodyOf(each)) > 0) transaction.append(input, [message('k', String(Number(bodyOf(each)) - 1))])
        }
      })
      await transport.append(input, [message('k', '20')])
      await until('it has come down to nothing', () => found.includes('0'))
      await settled(transport, group)
      expect(found).toEqual(Array.from({ length: 21 }, (_, i) => String(20 - i)))
    })

    test('commits at the latest after as many messages as it is told', async ({ transport, create, fresh }) => {
      const [input, group, sizes] = [await create({ partitions: 1 }), fresh('group'), [] as number[]]
      await transport.append(input, numbered(95))
      const commitEvery = { messages: 10, ms: 1000 }
      await using _ = await transport.transact([input], { group, commitEvery }, batch => void sizes.push(batch.length))
      await settled(transport, group)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(10)
      expect(sizes.reduce((sum, size) => sum + size)).toBe(95)
    })

    test('ends a transaction by number or by time, whichever comes first', async ({ transport, create, fresh }) => {
      const [input, sizes] = [await create({ partitions: 1 }), [] as number[]]
      const process = (batch: readonly Received[]) => void sizes.push(batch.length)
      const patient = { group: fresh('group'), commitEvery: { messages: 10, ms: 1_000_000_000 } }
      await using _ = await transport.transact([input], patient, process)
      for (let i = 0; i < 20; i++) await transport.append(input, numbered(1))
      await until('as many as it waits for were there twice', () => sizes.length === 2)
      expect(sizes).toEqual([10, 10])

      const hasty = { group: fresh('group'), commitEvery: { messages: 1_000, ms: 200 } }
      let found = 0
      await using __ = await transport.transact([input], hasty, batch => {
        found += batch.length
      })
      await until('its time is over', () => found === 20)
    })

    test('goes on after storage failed, and counts each once', async ({ cluster, transport, create, fresh }) => {
      const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
      await transport.append(input, numbered(60))
      const [half, failing] = [gate(), gate()]
      const count = counting(output)
      let calls = 0
      await using _ = await transport.transact(
        [input],
        { group, commitEvery: { messages: 10 }, retry: { ...soon, maxAttempts: 3 } },
        async (batch, transaction) => {
          if (++calls === 3) half.open()
          if (calls === 3) await failing.promise
          await count(batch, transaction)
        },
      )
      await within('the third batch', half.promise)
      await cluster.failStorage()
      failing.open()
      try {
        // The time in which it would fail more often than any limit of attempts.
        for (let i = 0; i < 20; i++) {
          await expect(transport.append(input, [message('k', 'lost')])).rejects.toMatchObject({ code: 'UNAVAILABLE' })
        }
      } finally {
        await cluster.healStorage()
      }
      await settled(transport, group)
      const found = byKey((await contents(transport, output)).filter(each => !bodyOf(each).startsWith('lost')))
      expect(found).toEqual(counted(numbered(60)))
    })
  })

  describe('poison', () => {
    test('dead-letters the message that throws alone, and lets its neighbours through', async ({
      transport,
      create,
      fresh,
    }) => {
      const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
      const [position] = await transport.append(input, numbered(1, 4))
      await transport.append(input, numbered(39, 4, 1))
      const poison = new Set(['0', '17', '18', '39'])
      const count = counting(output)
      await using _ = await transport.transact(
        [input],
        { group, retry: { ...soon, maxAttempts: 3 } },
        async (batch, transaction) => {
          await count(batch, transaction)
          const bad = batch.find(each => poison.has(bodyOf(each)))
          if (bad) throw new Error(`cannot digest ${bodyOf(bad)}`)
        },
      )
      await settled(transport, group)
      const good = numbered(40, 4).filter(each => !poison.has(bodyOf(each)))
      expect(byKey(await contents(transport, output))).toEqual(counted(good))
      const letters = (await contents(transport, { name: `${input.name}.dlq` })).sort(
        (a, b) => Number(bodyOf(a)) - Number(bodyOf(b)),
      )
      expect(letters.map(bodyOf)).toEqual(['0', '17', '18', '39'])
      const first = letters[0] as Received
      expect(headerOf(first, HEADERS.error)).toContain('cannot digest 0')
      expect(headerOf(first, HEADERS.attempts)).toBe('3')
      expect(headerOf(first, HEADERS.group)).toBe(group)
      expect(headerOf(first, HEADERS.origin)).toBe(`${transport.cluster}/${input.name}/0/${position?.at}`)
    })

    test('dead-letters at once what says that a retry cannot help', async ({ transport, create, fresh }) => {
      const [input, output, deadLetters, group] = [
        await create({ partitions: 1 }),
        await create(),
        await create(),
        fresh('group'),
      ]
      await transport.append(input, numbered(10))
      const count = counting(output)
      let alone = 0
      await using _ = await transport.transact(
        [input],
        { group, deadLetters, retry: { minMs: 60_000, maxMs: 60_000 } },
        async (batch, transaction) => {
          await count(batch, transaction)
          if (!batch.some(each => bodyOf(each) === '5')) return
          if (batch.length === 1) alone++
          throw new WeftError('SCHEMA', 'not what the schema says')
        },
      )
      await settled(transport, group)
      expect(alone).toBeLessThanOrEqual(1)
      expect((await contents(transport, deadLetters)).map(bodyOf)).toEqual(['5'])
      expect(byKey(await contents(transport, output))).toEqual(
        counted(numbered(10).filter(each => bodyOf(each) !== '5')),
      )
    })

    test('takes an output that is too large for the log as the fault of its input', async ({
      transport,
      create,
      fresh,
    }) => {
      const [input, output, group] = [await create({ partitions: 1 }), await create(), fresh('group')]
      await transport.append(input, numbered(10))
      const large = new Uint8Array(transport.guarantees.maxMessageBytes + 1)
      await using _ = await transport.transact(
        [input],
        { group, retry: { ...soon, maxAttempts: 2 } },
        (batch, transaction) => {
          for (const each of batch) {
            transaction.append(output, [
              bodyOf(each) === '5' ? message('k', '', { value: large }) : message('k', bodyOf(each)),
            ])
          }
        },
      )
      await settled(transport, group)
      expect((await contents(transport, output)).map(bodyOf)).toEqual(['0', '1', '2', '3', '4', '6', '7', '8', '9'])
      const [letter] = await take(transport, { name: `${input.name}.dlq` }, 1)
      expect(headerOf(letter as Received, HEADERS.errorCode)).toBe('TOO_LARGE')
    })
  })
}
