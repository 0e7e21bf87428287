import { expect } from 'vitest'
import { bytes, text } from '../message.ts'
import type { Process, Topic, Transaction, Transport } from '../transport.ts'
import { countOf } from './counting.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, keyOf, message, numbered, settled, until, within } from './observe.ts'

/** The keyed state of a partition: an ordered map that belongs to the transaction, the group and the partition. */
export function state(test: Cases) {
  /** Runs one transaction after another over a new message each, as `group`. */
  const inTurn = async (
    transport: Transport,
    topic: Topic,
    group: string,
    ...steps: ((transaction: Transaction) => void)[]
  ) => {
    const failures: unknown[] = []
    let step = 0
    await using _ = await transport.transact(
      [topic],
      { group, commitEvery: { messages: 1 } },
      ([each], transaction) => {
        // A transaction that was taken back comes again, with the same step.
        const own = each ? Number(bodyOf(each)) : -1
        step = own + 1
        try {
          steps[own]?.(transaction)
        } catch (error) {
          failures.push(error)
        }
      },
    )
    for (const [i] of steps.entries()) {
      await transport.append(topic, [message('k', String(i))])
      await until(`step ${i + 1} is done`, () => step > i)
    }
    await settled(transport, group)
    if (failures.length > 0) throw failures[0]
    expect(step).toBe(steps.length)
  }
  const list = (transaction: Transaction, from: string | Uint8Array, to: string | Uint8Array, store = 's') =>
    [
      ...transaction.range(
        store,
        typeof from === 'string' ? bytes(from) : from,
        typeof to === 'string' ? bytes(to) : to,
      ),
    ].map(([key, value]) => `${text(key)}=${text(value)}`)
  const set = (transaction: Transaction, key: string, value: string | undefined, store = 's') =>
    transaction.set(store, bytes(key), value === undefined ? undefined : bytes(value))
  const get = (transaction: Transaction, key: string, store = 's') => {
    const value = transaction.get(store, bytes(key))
    return value && text(value)
  }

  test('reads its own writes, in the transaction and after it', async ({ transport, create, fresh }) => {
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => {
        expect(get(transaction, 'a')).toBeUndefined()
        set(transaction, 'a', '1')
        expect(get(transaction, 'a')).toBe('1')
        set(transaction, 'a', '2')
        expect(get(transaction, 'a')).toBe('2')
      },
      transaction => expect(get(transaction, 'a')).toBe('2'),
    )
  })

  test('forgets what is deleted, in the transaction and after it', async ({ transport, create, fresh }) => {
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => {
        for (const key of ['a', 'b', 'c']) set(transaction, key, key)
        set(transaction, 'b', undefined)
        expect(get(transaction, 'b')).toBeUndefined()
        expect(list(transaction, 'a', 'z')).toEqual(['a=a', 'c=c'])
      },
      transaction => {
        expect(list(transaction, 'a', 'z')).toEqual(['a=a', 'c=c'])
        set(transaction, 'a', undefined)
        set(transaction, 'never there', undefined)
        expect(list(transaction, 'a', 'z')).toEqual(['c=c'])
        set(transaction, 'a', 'back')
      },
      transaction => expect(list(transaction, 'a', 'z')).toEqual(['a=back', 'c=c']),
    )
  })

  test('ranges from a key up to and without another, in the order of bytes, own writes among the old', async ({
    transport,
    create,
    fresh,
  }) => {
    const keys = [[], [0], [0, 0], [0, 1], [1], [97], [97, 0], [97, 97], [98], [127], [128], [255], [255, 255]]
    const shown = (transaction: Transaction, from: number[], to: number[]) =>
      [...transaction.range('s', Uint8Array.from(from), Uint8Array.from(to))].map(([key]) => [...key])
    const write = (transaction: Transaction, parity: number) => {
      for (const [i, key] of keys.entries()) {
        if (i % 2 === parity) transaction.set('s', Uint8Array.from(key), Uint8Array.of(i))
      }
    }
    const check = (transaction: Transaction) => {
      expect(shown(transaction, [], [255, 255, 255])).toEqual(keys)
      expect(shown(transaction, [0], [1])).toEqual([[0], [0, 0], [0, 1]])
      expect(shown(transaction, [97], [98])).toEqual([[97], [97, 0], [97, 97]])
      expect(shown(transaction, [2], [97])).toEqual([])
      expect(shown(transaction, [98], [98])).toEqual([])
      expect(shown(transaction, [98], [97])).toEqual([])
      expect(shown(transaction, [127, 5], [255])).toEqual([[128]])
    }
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => write(transaction, 0),
      transaction => {
        write(transaction, 1)
        check(transaction)
      },
      check,
    )
  })

  test('ranges over thousands of keys, and may be changed on the way', async ({ transport, create, fresh }) => {
    const key = (i: number) => `key${String(i).padStart(5, '0')}`
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => {
        for (let i = 0; i < 3000; i++) set(transaction, key(i), String(i))
      },
      transaction => {
        let count = 0
        for (const [found] of transaction.range('s', bytes('key'), bytes('kez'))) {
          expect(text(found)).toBe(key(count++))
          transaction.set('s', found, undefined)
        }
        expect(count).toBe(3000)
        expect(list(transaction, 'key', 'kez')).toEqual([])
      },
      transaction => expect(list(transaction, 'key', 'kez')).toEqual([]),
    )
  })

  test('holds empty keys and values and large ones, and keeps its stores apart', async ({
    transport,
    create,
    fresh,
  }) => {
    const large = new Uint8Array(1_000_000).fill(5)
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => {
        set(transaction, '', 'of the empty key')
        set(transaction, 'empty', '')
        set(transaction, 'a', 'other store', 's2')
        set(transaction, '', 'no store name', '')
        transaction.set('s', bytes('large'), large)
        transaction.set('s', new Uint8Array(400).fill(1), bytes('long key'))
      },
      transaction => {
        expect(get(transaction, '')).toBe('of the empty key')
        expect(get(transaction, 'empty')).toBe('')
        expect(get(transaction, 'a')).toBeUndefined()
        expect(get(transaction, 'a', 's2')).toBe('other store')
        expect(get(transaction, '', '')).toBe('no store name')
        expect(Buffer.compare(transaction.get('s', bytes('large')) as Uint8Array, large)).toBe(0)
        expect(text(transaction.get('s', new Uint8Array(400).fill(1)) as Uint8Array)).toBe('long key')
        expect(list(transaction, '', 'zz', 's2')).toEqual(['a=other store'])
      },
    )
  })

  test('gives bytes that stay as they are, whatever becomes of their key', async ({ transport, create, fresh }) => {
    const held: Uint8Array[] = []
    await inTurn(
      transport,
      await create({ partitions: 1 }),
      fresh('group'),
      transaction => {
        set(transaction, 'key', 'value')
      },
      transaction => {
        held.push(transaction.get('s', bytes('key')) as Uint8Array)
        for (const [key, value] of transaction.range('s', bytes('a'), bytes('z'))) held.push(key, value)
        set(transaction, 'key', 'other')
      },
      transaction => set(transaction, 'key', 'once more'),
    )
    expect(held.map(text)).toEqual(['value', 'key', 'value'])
  })

  test('belongs to a partition', async ({ transport, create, fresh }) => {
    const [topic, group] = [await create({ partitions: 3 }), fresh('group')]
    const found: string[] = []
    for (let partition = 0; partition < 3; partition++) await transport.append(topic, numbered(2), { partition })
    await using _ = await transport.transact([topic], { group, commitEvery: { messages: 1 } }, (batch, transaction) => {
      found.push(`${transaction.partition}: ${get(transaction, 'k') ?? 'nothing'}`)
      set(transaction, 'k', `of ${batch[0]?.position.partition}`)
    })
    await settled(transport, group)
    expect(found.sort()).toEqual(['0: nothing', '0: of 0', '1: nothing', '1: of 1', '2: nothing', '2: of 2'])
  })

  test('belongs to a group', async ({ transport, create, fresh }) => {
    const topic = await create({ partitions: 1 })
    await inTurn(transport, topic, fresh('one'), transaction => set(transaction, 'k', 'of one'))
    const group = fresh('other')
    let seen: string | undefined = 'never looked'
    await using _ = await transport.transact([topic], { group }, (_batch, transaction) => {
      seen = get(transaction, 'k')
    })
    await settled(transport, group)
    expect(seen).toBeUndefined()
  })

  test('is shared by co-partitioned topics, partition by partition', async ({ transport, create, fresh }) => {
    const [one, other, output, group] = [await create(), await create(), await create(), fresh('group')]
    await transport.append(one, numbered(100, 20))
    await transport.append(other, numbered(100, 20))
    const counts = new Map<string, number>()
    const topics = new Set<string>()
    const process: Process = (batch, transaction) => {
      for (const each of batch) {
        const count = countOf(transaction, each.key as Uint8Array) + 1
        transaction.set('counts', each.key as Uint8Array, bytes(String(count)))
        counts.set(keyOf(each) as string, count)
        topics.add(each.topic.name)
        expect(each.position.partition).toBe(transaction.partition)
        transaction.append(output, [message(keyOf(each), bodyOf(each))])
      }
    }
    await using _ = await transport.transact([one, other], { group }, process)
    await settled(transport, group)
    expect(topics).toEqual(new Set([one.name, other.name]))
    expect([...counts.values()]).toEqual(Array.from({ length: 20 }, () => 10))
  })

  test('refuses topics that are not co-partitioned', async ({ transport, create, fresh }) => {
    const topics = [await create({ partitions: 2 }), await create({ partitions: 3 })]
    const running = transport.transact(topics, { group: fresh('group') }, () => {})
    await expect(running).rejects.toMatchObject({ code: 'INVALID' })
  })

  test('survives a restart and moves with its partition to another client', async ({
    cluster,
    transport,
    create,
    fresh,
  }) => {
    const [topic, group] = [await create(), fresh('group')]
    const counts = new Map<string, number>()
    const process: Process = (batch, transaction) => {
      for (const each of batch) {
        const count = countOf(transaction, each.key as Uint8Array) + 1
        transaction.set('counts', each.key as Uint8Array, bytes(String(count)))
        counts.set(keyOf(each) as string, count)
      }
    }
    for (let round = 1; round <= 3; round++) {
      const client = await cluster.open()
      const running = await client.transact([topic], { group }, process)
      await transport.append(topic, numbered(80, 20))
      await settled(transport, group)
      expect([...counts.values()]).toEqual(Array.from({ length: 20 }, () => 4 * round))
      await within('the member to leave', running[Symbol.asyncDispose]())
      await client[Symbol.asyncDispose]()
    }
  })
}
