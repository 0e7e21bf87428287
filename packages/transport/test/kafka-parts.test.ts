import { crc32c, Reader, readRecordsBatch } from '@platformatic/kafka'
import { describe, expect, test } from 'vitest'
import { decodeAssignment, decodeSubscription, encodeAssignment, encodeSubscription } from '../src/kafka/assignment.ts'
import { assign, type Candidate } from '../src/kafka/assignor.ts'
import { committed } from '../src/kafka/committed.ts'
import { COMPRESSIONS, codecOf } from '../src/kafka/compression.ts'
import type { Compression, FetchedBatch } from '../src/kafka/driver.ts'
import { decodeBatches } from '../src/kafka/fetched-batches.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { nameOfOwn, nameOfTopic, ownOfName, topicOfName } from '../src/kafka/names.ts'
import { encodeBatch } from '../src/kafka/record-batch.ts'

describe('the assignor', () => {
  const candidate = (id: string, owned: number[], rest: Partial<Candidate> = {}): Candidate => ({
    id,
    topics: ['t'],
    partitions: 12,
    owned,
    exclusive: false,
    since: 0,
    ...rest,
  })
  const all = Array.from({ length: 12 }, (_, i) => i)

  /** Rounds of assignment, in each of which members give up what they are not given, until nothing moves. */
  const rounds = (members: Candidate[]) => {
    let moved = 0
    for (let round = 0; round < 5; round++) {
      const shares = assign(members)
      moved += members.reduce((sum, { id, owned }) => {
        const kept = new Set(shares.get(id)?.partitions)
        return sum + owned.filter(partition => !kept.has(partition)).length
      }, 0)
      const given = [...shares.values()].flatMap(({ partitions }) => partitions)
      expect(new Set(given).size).toBe(given.length)
      for (const { id } of members)
        for (const partition of shares.get(id)?.partitions ?? [])
          expect(members.some(other => other.id !== id && other.owned.includes(partition))).toBe(false)
      members = members.map(member => ({ ...member, owned: shares.get(member.id)?.partitions ?? [] }))
    }
    return { members, moved }
  }

  test('gives all to one, and half of it to a second one, which waits for the first to let go', () => {
    expect(rounds([candidate('a', [])]).members[0]?.owned).toEqual(all)
    const first = assign([candidate('a', all), candidate('b', [])])
    expect(first.get('a')?.partitions).toHaveLength(6)
    expect(first.get('b')?.partitions).toEqual([])
    const { members, moved } = rounds([candidate('a', all), candidate('b', [])])
    expect(members.map(({ owned }) => owned.length)).toEqual([6, 6])
    expect(moved).toBe(6)
  })

  test('moves only what must move when a member leaves', () => {
    const { members, moved } = rounds([candidate('a', [0, 1, 2, 3]), candidate('c', [8, 9, 10, 11])])
    expect(members.map(({ owned }) => owned.length)).toEqual([6, 6])
    expect(members.flatMap(({ owned }) => owned).sort((a, b) => a - b)).toEqual(all)
    expect(moved).toBe(0)
  })

  test('leaves a stand-by without anything where there is one partition', () => {
    const { members } = rounds([candidate('b', [0], { partitions: 1 }), candidate('a', [], { partitions: 1 })])
    expect(members.map(({ owned }) => owned)).toEqual([[0], []])
  })

  test('spreads copies over who is not the owner, and gives a partition to whoever has a copy of it', () => {
    const standbys = 1
    const [a, b, c] = [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ]
    const shares = assign([candidate('a', a, { standbys }), candidate('b', b, { standbys }), candidate('c', c)])
    const kept = [...shares.values()].map(({ standby }) => standby)
    expect(kept.flat().sort((x, y) => x - y)).toEqual(all)
    for (const { partitions, standby } of shares.values())
      expect(standby.filter(partition => partitions.includes(partition))).toEqual([])
    expect(Math.min(...kept.map(({ length }) => length))).toBeGreaterThanOrEqual(3)
    // When c is gone, its partitions go where their copies are.
    const left = assign([candidate('a', a, { warm: [8, 11] }), candidate('b', b, { warm: [9, 10] })])
    expect([...(left.get('a')?.partitions ?? [])].sort((x, y) => x - y)).toEqual([0, 1, 2, 3, 8, 11])
    expect([...(left.get('b')?.partitions ?? [])].sort((x, y) => x - y)).toEqual([4, 5, 6, 7, 9, 10])
  })

  test('keeps members of other topics apart', () => {
    const shares = assign([candidate('a', []), candidate('b', [], { topics: ['u'], partitions: 2 })])
    expect(shares.get('a')?.partitions).toEqual(all)
    expect(shares.get('b')?.partitions).toEqual([0, 1])
  })

  test('refuses all but the first of exclusive members, and never the one at work', () => {
    const exclusive = true
    const both = assign([candidate('a', [], { exclusive, since: 2 }), candidate('b', [], { exclusive, since: 1 })])
    expect([both.get('a')?.refused, both.get('b')?.refused]).toEqual([true, false])
    const late = assign([candidate('a', [], { exclusive, since: 1 }), candidate('b', all, { exclusive, since: 2 })])
    expect([late.get('a')?.refused, late.get('b')?.partitions]).toEqual([true, all])
  })
})

test('the consumer protocol survives its way through the broker', () => {
  const owned = [{ topic: 'Grüße', partitions: [0, 5] }]
  const subscription = { topics: ['a', 'Grüße'], userData: Uint8Array.of(1, 2, 3), owned }
  const decoded = decodeSubscription(encodeSubscription(subscription))
  expect({ ...decoded, userData: [...decoded.userData] }).toEqual({ ...subscription, userData: [1, 2, 3] })
  expect(decodeAssignment(encodeAssignment(owned, new Uint8Array()))).toEqual(owned)
  expect(decodeAssignment(new Uint8Array())).toEqual([])
})

test('topics, groups and writers keep their names through Kafka’s, and none is taken for another', () => {
  const topics = [
    { name: 'a.b.c' },
    { name: 'c', tenant: 'a', namespace: 'b' },
    { name: 'b.c', tenant: 'a' },
    { name: 'c', tenant: 'a.b' },
    { name: 'c', tenant: 'a_b' },
    { name: 'c', tenant: 'a_-b' },
    { name: '_x.y-z', tenant: '_', namespace: '.-' },
    { name: 'c', namespace: 'n' },
  ]
  expect(topics.map(topic => topicOfName(nameOfTopic(topic)))).toEqual(topics)
  expect(new Set(topics.map(nameOfTopic)).size).toBe(topics.length)
  for (const tenant of [undefined, 'a', 'a.b', '_']) expect(ownOfName(nameOfOwn('g.r.o.u.p', tenant))).toBe('g.r.o.u.p')
  expect(() => nameOfTopic({ name: '_tenant.a..b' })).toThrow('reserved')
  expect(() => nameOfTopic({ name: '__consumer_offsets' })).toThrow('reserved')
  expect(() => nameOfOwn('_tenant.a.g', undefined)).toThrow('reserved')
})

test('read committed leaves out what was taken back, and nothing else', () => {
  const batch = (first: bigint, last: bigint, producer: bigint, rest: Partial<FetchedBatch> = {}): FetchedBatch => ({
    first,
    last,
    producer,
    transactional: true,
    records: [],
    ...rest,
  })
  const batches = [
    batch(0n, 1n, 7n),
    batch(2n, 3n, 8n),
    batch(4n, 4n, -1n, { transactional: false }),
    batch(5n, 5n, 7n, { control: 'abort' }),
    batch(6n, 6n, 7n),
    batch(7n, 7n, 8n, { control: 'commit' }),
    batch(8n, 9n, 9n),
    batch(10n, 10n, 9n, { control: 'abort' }),
  ]
  const aborted = [
    { producer: 9n, first: 8n },
    { producer: 7n, first: 0n },
  ]
  const seen = committed({ batches, aborted }, 0n)
  expect(seen.batches.map(({ first }) => first)).toEqual([2n, 4n, 6n])
  expect(seen.next).toBe(11n)
  expect(committed({ batches: [], aborted: [] }, 5n).next).toBe(5n)
})

test('a record batch says what it was given, to whoever reads the format', () => {
  const bytes = (size: number, fill: number) => new Uint8Array(size).fill(fill)
  const sizes = [0, 1, 63, 64, 127, 128, 8_191, 8_192, 70_000]
  const records = sizes.map((size, i) => ({
    key: i % 3 === 0 ? null : bytes(size, 1),
    value: i % 4 === 0 ? null : bytes(size, 2),
    headers: Array.from({ length: i * 10 }, (_, n) => [bytes(n, 3), bytes(size % 100, 4)] as const),
    timestamp: [0n, 1n, 1_700_000_000_000n, 253_402_300_799_999n][i % 4] as bigint,
  }))
  const options = { producer: { id: 2n ** 40n, epoch: 32_767 }, sequence: 2 ** 31 - 1, transactional: true }
  const encoded = encodeBatch(records, { ...options, crc32c: data => crc32c(data) })
  const batch = readRecordsBatch(Reader.from(encoded))
  expect(batch).toMatchObject({ firstOffset: 0n, lastOffsetDelta: 8, attributes: 16, magic: 2 })
  expect(batch).toMatchObject({ producerId: 2n ** 40n, producerEpoch: 32_767, firstSequence: 2 ** 31 - 1 })
  expect([batch.length, batch.crc]).toEqual([encoded.length - 12, crc32c(encoded.subarray(21))])
  expect(batch.maxTimestamp).toBe(253_402_300_799_999n)
  const hex = (value: Uint8Array | null) => value && Buffer.from(value).toString('hex')
  const plain = (
    key: Uint8Array | null,
    value: Uint8Array | null,
    headers: readonly (readonly (Uint8Array | null)[])[],
  ) => [hex(key), hex(value), headers.map(pair => pair.map(hex))]
  expect(batch.records.map(({ key, value, headers }) => plain(key, value, headers))).toEqual(
    records.map(({ key, value, headers }) => plain(key, value, headers)),
  )
  expect(batch.records.map(({ timestampDelta }) => batch.firstTimestamp + timestampDelta)).toEqual(
    records.map(({ timestamp }) => timestamp),
  )
})

describe('batches from the log', () => {
  const records = [0n, 5n, -(2n ** 40n), 2n ** 40n].map((later, i) => ({
    key: i % 2 ? null : Buffer.from(`key ${i}`),
    value: i === 3 ? null : Buffer.alloc(i * 40_000, `value ${i} `),
    headers: [[Buffer.from('name'), Buffer.from(`${i}`)] as const],
    timestamp: 1_700_000_000_000n + later,
  }))
  const batch = (compression: Compression = 'none') =>
    encodeBatch(records, {
      producer: { id: 7n, epoch: 1 },
      sequence: 0,
      transactional: true,
      crc32c: data => crc32c(data),
      codec: codecOf(compression),
    })

  test.for(COMPRESSIONS)('are read as they were written, packed with %s', compression => {
    const [read] = decodeBatches(batch(compression))
    expect(read).toMatchObject({ first: 0n, last: 3n, producer: 7n, transactional: true })
    expect(read?.records).toEqual(records.map((record, i) => ({ ...record, offset: BigInt(i) })))
  })

  test('are read as far as they are whole: the last one of an answer may be cut off', () => {
    const bytes = Buffer.concat([batch(), batch()])
    const whole = batch().length
    for (const end of [0, 11, 60, whole - 1]) expect(decodeBatches(bytes.subarray(0, end))).toEqual([])
    for (const end of [whole, whole + 60, 2 * whole - 1])
      expect(decodeBatches(bytes.subarray(0, end)).map(({ records }) => records.length)).toEqual([4])
  })

  test('have headers without a value and no records at all, if others left them so', () => {
    // As compaction leaves the batch of a producer that is still there.
    const emptied = Buffer.from(batch().subarray(0, 61))
    emptied.writeInt32BE(61 - 12, 8)
    emptied.writeInt32BE(0, 57)
    expect(decodeBatches(emptied)).toMatchObject([{ first: 0n, last: 3n, records: [] }])
    const [name, none] = [Buffer.from('name'), null as unknown as Buffer]
    const record = { key: null, value: null, headers: [[name, none] as const], timestamp: 0n }
    const options = { producer: { id: 7n, epoch: 1 }, sequence: 0, transactional: false }
    const bare = encodeBatch([record], { ...options, crc32c: data => crc32c(data) })
    expect(decodeBatches(bare)[0]?.records[0]?.headers).toEqual([[name, Buffer.alloc(0)]])
  })

  test.for([
    ['of before Kafka 0.11', (bytes: Buffer) => bytes.writeInt8(1, 16), 'message format 1'],
    ['in a compression that nobody knows', (bytes: Buffer) => bytes.writeInt16BE(7, 21), 'compression 7'],
    ['that are not packed as they say', (bytes: Buffer) => bytes.writeInt16BE(4, 21), 'cannot be unpacked'],
    ['that are longer than they say', (bytes: Buffer) => bytes.writeInt8(2, 61), 'not 1 bytes long'],
  ] as const)('are UNREADABLE %s', ([, spoil, why]) => {
    const bytes = batch()
    spoil(bytes)
    expect(() => decodeBatches(bytes)).toThrow(
      expect.objectContaining({ code: 'UNREADABLE', message: expect.stringContaining(why) }),
    )
  })
})

test.for([
  ['kafka:', 'names no broker'],
  ['kafka://', 'names no broker'],
  ['kafka://h:99999', 'names no broker'],
  ['kafka://h:1?sessionMs=soon', 'sessionMs must be'],
  ['kafka://h:1?compression=zip', 'compression must be one of'],
  ['kafka://h:1?sesionMs=1', 'unknown parameters (sesionMs)'],
  ['kafka://h:1?driver=node-rdkafka', 'driver must be one of platformatic, kafkajs'],
  ['kafka://ann:secret@h:1', 'passwordFile=FILE or the variable WEFT_KAFKA_PASSWORD'],
  ['kafka://h:1?sasl=scram-sha-512&user=ann&password=secret', 'passwordFile=FILE or the variable WEFT_KAFKA_PASSWORD'],
  ['kafka://h:1?sasl=gssapi', 'sasl must be one of plain, scram-sha-256, scram-sha-512'],
  ['kafka://h:1?sasl=plain&user=ann', 'only over kafka+ssl://'],
  ['kafka://h:1?sasl=scram-sha-512', 'sasl needs a user'],
  ['kafka://h:1?sasl=scram-sha-512&user=ann', 'sasl needs a password'],
  ['kafka://h:1?sasl=scram-sha-512&user=ann&passwordFile=nowhere', 'nowhere cannot be read (ENOENT)'],
  ['kafka://h:1?user=ann', 'are for SASL'],
  ['kafka://h:1?ca=ca.pem', 'are for TLS'],
  ['kafka+ssl://h:1?cert=own.pem', 'cert and key belong together'],
  ['kafka+ssl://h:1?ca=package.json', 'cannot be used'],
])('refuses %s, and says why', async ([url, why]) => {
  await expect(openKafka(url as string)).rejects.toMatchObject({
    code: 'INVALID',
    message: expect.stringContaining(why as string),
  })
  await expect(openKafka(url as string)).rejects.not.toMatchObject({ message: expect.stringContaining('secret') })
})

test('says UNAVAILABLE when no broker is there', async () => {
  await expect(openKafka('kafka://127.0.0.1:1?patienceMs=100')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})
