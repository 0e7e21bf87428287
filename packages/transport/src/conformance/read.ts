import { describe, expect } from 'vitest'
import type { From, Position, Received } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, message, numbered, take, until, within } from './observe.ts'

/** What `read` promises: every committed message after a place, in order, then the tail; and what positions are good for. */
export function read(test: Cases) {
  describe('from', () => {
    test('reads from the earliest', async ({ transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(30))
      expect(byKey(await take(transport, topic, 30))).toEqual(byKey(numbered(30)))
    })

    test('reads from the latest: nothing of what was there before', async ({ transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(30))
      const reading = transport.read(topic, { from: 'latest' })[Symbol.asyncIterator]()
      let first: Received | undefined
      const next = reading.next().then(({ value }) => {
        first = value?.[0]
      })
      // The end is looked up at some time after the call: whatever comes first must have come after that.
      await until('the reader gets something', async () => {
        await transport.append(topic, [message('k', 'new')])
        return first
      })
      await next
      await reading.return?.()
      expect(first && bodyOf(first)).toBe('new')
    })

    test('reads after a position, in each partition that is named', async ({ transport, create }) => {
      const topic = await create()
      const old = await transport.append(topic, numbered(200, 50))
      const last = new Map(old.map(position => [position.partition, position]))
      expect(last.size).toBe(4)
      await transport.append(topic, numbered(100, 50, 200))
      const found = await contents(transport, topic, { after: [...last.values()] })
      expect(byKey(found)).toEqual(byKey(numbered(100, 50, 200)))
    })

    test('starts a partition that `after` does not name at its earliest', async ({ transport, create }) => {
      const topic = await create({ partitions: 2 })
      const [, , third] = await transport.append(topic, numbered(5), { partition: 0 })
      await transport.append(topic, numbered(5, 10, 100), { partition: 1 })
      const found = await contents(transport, topic, { after: [third as Position] })
      const values = (partition: number) => found.filter(each => each.position.partition === partition).map(bodyOf)
      expect(values(0)).toEqual(['3', '4'])
      expect(values(1)).toEqual(['100', '101', '102', '103', '104'])
      expect(await contents(transport, topic, { after: [] })).toHaveLength(10)
    })

    test('reads from a time: the first message the log took at or after it', async ({ transport, create }) => {
      const topic = await create({ partitions: 1 })
      await transport.append(topic, [message('k', 'old', { time: 9_000_000_000_000 })])
      const [old] = await take(transport, topic, 1)
      await until('the clock has moved', () => Date.now() > (old?.appendedAt ?? 0) + 1)
      await transport.append(topic, [message('k', 'new', { time: 0 })])
      const found = await take(transport, topic, 2)
      const time = found[1]?.appendedAt as number
      expect((await contents(transport, topic, { time })).map(bodyOf)).toEqual(['new'])
      expect((await contents(transport, topic, { time: 0 })).map(bodyOf)).toEqual(['old', 'new'])
    })

    test('reads only the partitions that are asked for', async ({ transport, create }) => {
      const topic = await create()
      for (let partition = 0; partition < 4; partition++) {
        await transport.append(topic, numbered(5, 10, partition * 10), { partition })
      }
      const found: Received[] = []
      for await (const batch of transport.read(topic, { from: 'earliest', partitions: [1, 3] })) {
        found.push(...batch)
        if (found.length >= 10) break
      }
      expect(new Set(found.map(each => each.position.partition))).toEqual(new Set([1, 3]))
    })

    test('says NOT_FOUND for a topic that does not exist', async ({ transport, fresh }) => {
      const reading = transport.read({ name: fresh('missing') }, { from: 'earliest' })[Symbol.asyncIterator]()
      await expect(within('an answer', reading.next())).rejects.toMatchObject({ code: 'NOT_FOUND' })
    })
  })

  describe('to', () => {
    test('ends behind the position of each partition, whatever comes after it', async ({ transport, create }) => {
      const topic = await create({ partitions: 3 })
      const [first] = await transport.append(topic, numbered(1, 1, 0), { partition: 0 })
      const middle = await transport.append(topic, numbered(5, 5, 10), { partition: 1 })
      await transport.append(topic, numbered(5, 5, 20), { partition: 2 })
      await transport.append(topic, numbered(10, 5, 30), { partition: 0 })
      const to = [first as Position, middle[2] as Position]
      const bodies = async (from: From, partitions?: readonly number[]) => {
        const found: string[] = []
        const reading = (async () => {
          const options = { from, to, ...(partitions && { partitions }) }
          for await (const batch of transport.read(topic, options)) found.push(...batch.map(bodyOf))
        })()
        await within('the reader to end', reading)
        return found.sort()
      }
      expect(await bodies('earliest')).toEqual(['0', '10', '11', '12'])
      expect(await bodies({ after: [first as Position, middle[1] as Position] })).toEqual(['12'])
      expect(await bodies('earliest', [1, 2])).toEqual(['10', '11', '12'])
      expect(await bodies('latest')).toEqual([])
      expect(await bodies({ after: to })).toEqual([])
    })

    test('ends where the log ends now, also where it is empty', async ({ transport, create }) => {
      const topic = await create()
      const read = async () => {
        const { end } = await transport.admin.describe(topic)
        let count = 0
        for await (const batch of transport.read(topic, { from: 'earliest', to: end })) count += batch.length
        return count
      }
      expect(await within('the reader to end', read())).toBe(0)
      await transport.append(topic, numbered(3), { partition: 2 })
      expect(await within('the reader to end', read())).toBe(3)
    })
  })

  describe('tail', () => {
    test('goes on with what comes, also from other clients', async ({ open, transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(10))
      const other = await open()
      const found: string[] = []
      for await (const batch of transport.read(topic, { from: 'earliest' })) {
        found.push(...batch.map(bodyOf))
        if (found.length >= 50) break
        // Only when all is read is there more: the reader must have waited for it.
        if (found.length % 10 === 0) await other.append(topic, numbered(10, 10, found.length))
      }
      expect(found.sort((a, b) => Number(a) - Number(b))).toEqual(numbered(50).map(bodyOf))
    })

    test('goes on with what other processes append', async ({ transport, create, spawn }) => {
      const topic = await create()
      const appender = spawn('appender', { topic, round: 0, seed: 1 })
      const found = new Set((await take(transport, topic, 200, 'latest')).map(bodyOf))
      await appender.kill()
      expect(found.size).toBe(200)
    })

    test('gives every reader everything, and remembers nothing', async ({ transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(50))
      const readings = await Promise.all([1, 2, 3].map(() => take(transport, topic, 50)))
      readings.push(await take(transport, topic, 50))
      for (const each of readings) expect(byKey(each)).toEqual(byKey(numbered(50)))
      expect(await transport.admin.groups()).not.toContainEqual(expect.objectContaining({ topic }))
    })

    test('ends promptly and without an error when it is aborted', async ({ transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(10))
      const stop = new AbortController()
      let found = 0
      const reading = (async () => {
        for await (const batch of transport.read(topic, { from: 'earliest', signal: stop.signal }))
          found += batch.length
      })()
      await until('all is read', () => found === 10)
      stop.abort()
      await within('the reader to end', reading)
      expect(found).toBe(10)
    })

    test('gives nothing when it was aborted before it began', async ({ transport, create }) => {
      const topic = await create()
      await transport.append(topic, numbered(10))
      const reading = (async () => {
        for await (const batch of transport.read(topic, { from: 'earliest', signal: AbortSignal.abort() })) return batch
        return 'nothing'
      })()
      expect(await within('the reader to end', reading)).toBe('nothing')
    })

    test('leaves what it gave untouched while it reads on', async ({ transport, create }) => {
      const topic = await create({ partitions: 1 })
      const held: Received[] = []
      await transport.append(topic, numbered(100, 5))
      for await (const batch of transport.read(topic, { from: 'earliest', maxBytes: 512 })) {
        held.push(...batch)
        if (held.length >= 400) break
        if (held.length % 50 === 0) await transport.append(topic, numbered(100, 5, held.length * 1000))
      }
      const positions = new Set(held.map(each => each.position.at))
      expect(positions.size).toBe(held.length)
      const again = await take(transport, topic, held.length)
      expect(held.map(bodyOf)).toEqual(again.map(bodyOf))
    })
  })

  describe('back pressure', () => {
    test('gives batches of about maxBytes, and a message larger than that alone', async ({ transport, create }) => {
      const topic = await create({ partitions: 1 })
      const sized = (size: number) => message('k', '', { value: new Uint8Array(size) })
      await transport.append(
        topic,
        Array.from({ length: 64 }, () => sized(8_192)),
      )
      await transport.append(topic, [sized(262_144), sized(1)])
      const sizes: number[] = []
      let count = 0
      for await (const batch of transport.read(topic, { from: 'earliest', maxBytes: 65_536 })) {
        sizes.push(batch.reduce((sum, each) => sum + (each.value?.length ?? 0), 0))
        count += batch.length
        if (count === 66) break
      }
      // A batch may be filled up by the message that reaches the limit.
      for (const size of sizes.slice(0, -2)) expect(size).toBeLessThanOrEqual(65_536 + 8_192)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536 + 262_144)
    })

    test('does not grow the memory of a slow reader', async ({ transport, create, spawn }) => {
      const topic = await create({ partitions: 1 })
      const value = new Uint8Array(65_536)
      for (let i = 0; i < 8; i++) {
        await transport.append(
          topic,
          Array.from({ length: 128 }, () => message('k', '', { value })),
        )
      }
      const reader = spawn('slow-reader', { topic, maxBytes: 1_048_576 })
      const [grown] = (await reader.first('grown')) as [number]
      // 64 MiB lie ahead of it. It may hold a few batches, not the topic.
      expect(grown).toBeLessThan(16 * 1_048_576)
    })
  })

  describe('positions', () => {
    test('compare in the order of the log', async ({ transport, create }) => {
      const topic = await create({ partitions: 1 })
      const positions: Position[] = []
      for (let i = 0; i < 3; i++) positions.push(...(await transport.append(topic, numbered(50))))
      for (const [i, position] of positions.entries()) {
        expect(transport.compare(position, position)).toBe(0)
        const next = positions[i + 1]
        if (!next) continue
        expect(transport.compare(position, next)).toBeLessThan(0)
        expect(transport.compare(next, position)).toBeGreaterThan(0)
      }
      expect(transport.compare(positions[9] as Position, positions[100] as Position)).toBeLessThan(0)
    })

    test('survive being stored as text', async ({ open, transport, create }) => {
      const topic = await create({ partitions: 1 })
      const positions = await transport.append(topic, numbered(20))
      const stored = JSON.parse(JSON.stringify(positions[9]))
      expect(transport.compare(stored, positions[9] as Position)).toBe(0)
      const found = await contents(await open(), topic, { after: [stored] })
      expect(found.map(bodyOf)).toEqual(numbered(10, 10, 10).map(bodyOf))
    })

    test('refuse to be what they are not', async ({ transport, create }) => {
      const topic = await create({ partitions: 1 })
      await transport.append(topic, numbered(1))
      for (const position of [
        { partition: 0, at: 'nonsense' },
        { partition: 7, at: '0' },
      ]) {
        const reading = transport.read(topic, { from: { after: [position] } })[Symbol.asyncIterator]()
        await expect(within('an answer', reading.next())).rejects.toMatchObject({ code: 'INVALID' })
      }
    })
  })
}
