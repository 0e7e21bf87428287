import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { type PulsarServer, pulsarForTests } from '@weft/local/for-tests'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import {
  Brokers,
  type BrokersOptions,
  Consumer,
  type ConsumerOptions,
  type IncomingMessage,
  type OutgoingMessage,
  Producer,
  type ProducerOptions,
  PulsarError,
  Transactions,
} from '../src/pulsar/wire/index.ts'

const server = await pulsarForTests(inject('servers'))
if (server) describe('the wire driver', () => cases(server))
else test.skip('the wire driver: not run here, see the last lines', () => {})

function cases(server: PulsarServer) {
  const admin = server.token('admin')
  const bearing = (token: string) => ({ method: 'token', data: () => Buffer.from(token) })
  const brokersOf = (options: Partial<BrokersOptions> = {}) => {
    const brokers = new Brokers({ serviceUrl: server.url, authentication: bearing(admin), ...options })
    onTestFinished(() => brokers.close())
    return brokers
  }
  const rest = async (method: string, path: string, body?: unknown) => {
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' }
    const answer = await fetch(`${server.web}/admin/v2/${path}`, { method, headers, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
  }
  const create = async () => {
    const name = `wire-${randomUUID()}`
    await rest('PUT', `persistent/public/default/${name}`)
    return `persistent://public/default/${name}`
  }
  const producerOf = async (brokers: Brokers, options: ProducerOptions) => {
    const producer = await Producer.open(brokers, options)
    onTestFinished(() => producer.close())
    return producer
  }
  const consumerOf = async (brokers: Brokers, options: ConsumerOptions) => {
    const consumer = await Consumer.open(brokers, { from: 'earliest', ...options })
    onTestFinished(() => consumer.close())
    return consumer
  }
  const take = async (consumer: Consumer, count: number) => {
    const messages: IncomingMessage[] = []
    while (messages.length < count)
      messages.push(...((await consumer.receive({ most: count - messages.length })) ?? []))
    return messages
  }
  const texts = (messages: readonly IncomingMessage[]) => messages.map(({ value }) => String(value))

  test.each(['none', 'zlib', 'zstd'] as const)(
    'carries everything a message has, compression %s',
    async compression => {
      const brokers = brokersOf()
      const topic = await create()
      const producer = await producerOf(brokers, { topic, compression })
      const sent: OutgoingMessage[] = [
        {
          key: 'köy',
          value: Buffer.from('a'),
          properties: [
            ['n', '1'],
            ['n', '2'],
            ['', ''],
          ],
          eventTime: 1_700_000_000_123,
        },
        { key: Uint8Array.of(0, 255, 1), value: Buffer.from([0, 255]), orderingKey: Uint8Array.of(9) },
        { key: 'gone', value: null },
        { value: Buffer.alloc(0) },
        { value: Buffer.alloc(2 ** 20, 7) },
      ]
      for (const message of sent) await producer.send(message)
      const batched = await Promise.all(sent.slice(0, 3).map(message => producer.send(message)))
      expect(new Set(batched.map(id => `${id.ledgerId}:${id.entryId}:${id.batchIndex}`)).size).toBe(3)
      const consumer = await consumerOf(brokers, { topic, subscription: 's' })
      const received = await take(consumer, 8)
      for (const [index, message] of [...sent, ...sent.slice(0, 3)].entries()) {
        const { key, value, properties, eventTime, orderingKey } = received[index] as IncomingMessage
        expect({ key, value, properties, eventTime, orderingKey: orderingKey && Buffer.from(orderingKey) }).toEqual({
          key: message.key instanceof Uint8Array ? Buffer.from(message.key) : message.key,
          value: message.value && Buffer.from(message.value),
          properties: message.properties ?? [],
          eventTime: message.eventTime,
          orderingKey: message.orderingKey && Buffer.from(message.orderingKey),
        })
      }
    },
  )

  test('sends what is larger than the broker takes in pieces, or refuses it', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const large = Buffer.alloc(11 * 2 ** 20, 5)
    const chunking = await producerOf(brokers, { topic, chunking: true })
    const whole = await producerOf(brokers, { topic })
    await expect(whole.send({ value: large })).rejects.toMatchObject({ code: 'TooLarge' })
    await Promise.all([chunking.send({ value: large }), whole.send({ value: Buffer.from('between') })])
    const consumer = await consumerOf(brokers, { topic, subscription: 's' })
    const received = await take(consumer, 2)
    expect(new Set(received.map(({ value }) => value?.length))).toEqual(new Set([7, large.length]))
    await consumer.acknowledge(received.map(({ id }) => id))
    await consumer.close()
    await whole.send({ value: Buffer.from('after') })
    expect(texts(await take(await consumerOf(brokers, { topic, subscription: 's' }), 1))).toEqual(['after'])
  })

  test('keeps the order of equal keys over three consumers of Key_Shared, in batches', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const consumers = await Promise.all(
      [1, 2, 3].map(() => consumerOf(brokers, { topic, subscription: 's', type: 'key-shared', queue: 50 })),
    )
    const producer = await producerOf(brokers, { topic, batchMessages: 20 })
    const count = 3000
    const byKey = new Map<string, number[]>()
    const owners = new Map<string, Set<number>>()
    let seen = 0
    const stop = new AbortController()
    const receiving = consumers.map(async (consumer, who) => {
      for (;;) {
        const messages = await consumer.receive({ signal: stop.signal })
        if (!messages) return
        for (const { key, value } of messages) {
          byKey.set(String(key), [...(byKey.get(String(key)) ?? []), Number(value)])
          owners.set(String(key), (owners.get(String(key)) ?? new Set()).add(who))
        }
        await consumer.acknowledge(messages.map(({ id }) => id))
        seen += messages.length
        if (seen === count) stop.abort()
      }
    })
    for (let at = 0; at < count; at += 100) {
      const sending = Array.from({ length: 100 }, (_, n) =>
        producer.send({ key: `k${(at + n) % 64}`, value: Buffer.from(String(at + n)) }),
      )
      await Promise.all(sending)
    }
    await Promise.all(receiving)
    for (const numbers of byKey.values()) expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    expect(byKey.size).toBe(64)
    for (const who of owners.values()) expect(who.size).toBe(1)
    expect(new Set([...owners.values()].flatMap(who => [...who])).size).toBe(3)
  })

  test('acknowledges messages of a batch one by one, and up to one of them', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const producer = await producerOf(brokers, { topic, batching: 'any' })
    await Promise.all(Array.from({ length: 130 }, (_, n) => producer.send({ value: Buffer.from(String(n)) })))
    const first = await consumerOf(brokers, { topic, subscription: 's', type: 'shared' })
    const ids = (await take(first, 130)).map(({ id }) => id)
    await first.acknowledge(ids.filter((_, n) => n % 2 === 0 || n > 100))
    await first.close()
    const second = await consumerOf(brokers, { topic, subscription: 's', type: 'shared' })
    expect(texts(await take(second, 50))).toEqual(Array.from({ length: 50 }, (_, n) => String(2 * n + 1)))
    const other = await consumerOf(brokers, { topic, subscription: 'o' })
    const more = await take(other, 130)
    await other.acknowledge([(more[98] as IncomingMessage).id], { cumulative: true })
    await other.close()
    const last = await consumerOf(brokers, { topic, subscription: 'o' })
    expect(texts(await take(last, 31))).toEqual(Array.from({ length: 31 }, (_, n) => String(99 + n)))
  })

  test('lets one consumer be exclusive, and hands a partition on in failover', async () => {
    const brokers = brokersOf()
    const topic = await create()
    await consumerOf(brokers, { topic, subscription: 'x' })
    await expect(consumerOf(brokers, { topic, subscription: 'x', openTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'ConsumerBusy',
    })
    const both = [
      await consumerOf(brokers, { topic, subscription: 'f', type: 'failover', name: 'a' }),
      await consumerOf(brokers, { topic, subscription: 'f', type: 'failover', name: 'b' }),
    ]
    const producer = await producerOf(brokers, { topic })
    await expect.poll(() => both.filter(({ isActive }) => isActive).length, { timeout: 30_000 }).toBe(1)
    const active = both.find(({ isActive }) => isActive) as Consumer
    const standby = both.find(({ isActive }) => !isActive) as Consumer
    await producer.send({ value: Buffer.from('1') })
    expect(texts(await take(active, 1))).toEqual(['1'])
    await active.close()
    expect(texts(await take(standby, 1))).toEqual(['1'])
    expect(standby.isActive).toBe(true)
  })

  test('fences the producer that had exclusive access', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const before = await producerOf(brokers, { topic, access: 'exclusive' })
    await before.send({ value: Buffer.from('before') })
    await expect(producerOf(brokers, { topic, access: 'exclusive', openTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'ProducerFenced',
    })
    const after = await producerOf(brokersOf(), { topic, access: 'exclusive-with-fencing' })
    await expect(before.send({ value: Buffer.from('late') })).rejects.toMatchObject({ code: 'ProducerFenced' })
    await after.send({ value: Buffer.from('after') })
    const consumer = await consumerOf(brokers, { topic, subscription: 's' })
    expect(texts(await take(consumer, 2))).toEqual(['before', 'after'])
  })

  test('shows what a transaction sent and acknowledged when it commits, and never when it aborts', async () => {
    const brokers = brokersOf()
    const [input, output] = [await create(), await create()]
    const transactions = new Transactions(brokers)
    const source = await producerOf(brokers, { topic: input })
    const target = await producerOf(brokers, { topic: output, transactions: true })
    await source.send({ value: Buffer.from('in') })
    const reader = await consumerOf(brokers, { topic: output, subscription: 'r' })
    for (const action of ['abort', 'commit'] as const) {
      const consumer = await consumerOf(brokers, { topic: input, subscription: 's' })
      const taken = await take(consumer, 1)
      const transaction = await transactions.begin(30_000)
      await transactions.addTopics(transaction, [output])
      await transactions.addSubscriptions(transaction, [{ topic: input, subscription: 's' }])
      await target.send({ value: Buffer.from(action), transaction })
      await consumer.acknowledge(
        taken.map(({ id }) => id),
        { transaction },
      )
      await transactions.end(transaction, action)
      await expect(transactions.end(transaction, action === 'commit' ? 'abort' : 'commit')).rejects.toBeInstanceOf(
        PulsarError,
      )
      await consumer.close()
    }
    expect(texts(await take(reader, 1))).toEqual(['commit'])
    await source.send({ value: Buffer.from('next') })
    const consumer = await consumerOf(brokers, { topic: input, subscription: 's' })
    expect(texts(await take(consumer, 1))).toEqual(['next'])
  })

  test('reads from behind a message, from a time, and tells the last one', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const empty = await consumerOf(brokers, { topic, subscription: 'r', durable: false })
    expect(await empty.lastId()).toBeUndefined()
    await empty.close()
    const producer = await producerOf(brokers, { topic, batching: 'any' })
    const early = await Promise.all(['0', '1', '2'].map(text => producer.send({ value: Buffer.from(text) })))
    const between = Date.now() + 1
    await expect.poll(() => Date.now()).toBeGreaterThan(between)
    const late = await Promise.all(['3', '4'].map(text => producer.send({ value: Buffer.from(text) })))
    const reader = await consumerOf(brokers, { topic, subscription: 'r', durable: false, after: early[1] })
    expect(texts(await take(reader, 3))).toEqual(['2', '3', '4'])
    expect(await reader.lastId()).toMatchObject({ ledgerId: late[1]?.ledgerId, entryId: late[1]?.entryId })
    const consumer = await consumerOf(brokers, { topic, subscription: 's', from: 'latest' })
    await consumer.seek({ time: between })
    expect(texts(await take(consumer, 2))).toEqual(['3', '4'])
    await consumer.seek({ after: undefined })
    expect(texts(await take(consumer, 5))).toEqual(['0', '1', '2', '3', '4'])
  })

  test('loses and doubles nothing when connections break, where the broker deduplicates', async () => {
    const topic = await create()
    await rest('POST', `${topic.replace('://', '/')}/deduplicationEnabled`, true)
    const broken = await breaking(Number(new URL(server.url).port))
    onTestFinished(() => broken.close())
    // The broker tells its own address at look-up; a proxy is what keeps its clients to itself.
    const straight = brokersOf()
    const brokers = brokersOf({ serviceUrl: `pulsar://127.0.0.1:${broken.port}`, timeoutMs: 3_000 })
    brokers.of = () => brokers.any()
    const producer = await producerOf(brokers, { topic, name: `p-${randomUUID()}`, batchMessages: 10 })
    const cutting = setInterval(() => broken.cut(), 150)
    const count = 2000
    try {
      for (let at = 0; at < count; at += 20)
        await Promise.all(
          Array.from({ length: 20 }, (_, n) => producer.send({ key: 'k', value: Buffer.from(String(at + n)) })),
        )
    } finally {
      clearInterval(cutting)
    }
    expect(broken.cuts()).toBeGreaterThan(0)
    const consumer = await consumerOf(straight, { topic, subscription: 's' })
    expect(texts(await take(consumer, count)).map(Number)).toEqual(Array.from({ length: count }, (_, n) => n))
    await producer.send({ value: Buffer.from('last') })
    expect(texts(await take(consumer, 1))).toEqual(['last'])
  })

  test('leaves out what a name has already sent, and tells where it was', async () => {
    const brokers = brokersOf()
    const topic = await create()
    await rest('POST', `${topic.replace('://', '/')}/deduplicationEnabled`, true)
    const name = `p-${randomUUID()}`
    const first = await producerOf(brokers, { topic, name })
    expect(first.lastSequenceId).toBe(-1n)
    for (const sequenceId of [10n, 11n, 2n ** 60n])
      await first.send({ value: Buffer.from(`${sequenceId}`), sequenceId })
    await first.close()
    const second = await producerOf(brokers, { topic, name })
    expect(second.lastSequenceId).toBe(2n ** 60n)
    expect(await second.send({ value: Buffer.from('again'), sequenceId: 11n })).toMatchObject({ ledgerId: -1 })
    await second.send({ value: Buffer.from('new'), sequenceId: 2n ** 60n + 1n })
    const consumer = await consumerOf(brokers, { topic, subscription: 's' })
    expect(texts(await take(consumer, 4))).toEqual(['10', '11', `${2n ** 60n}`, 'new'])
  })

  test('refuses more than may be pending, and says when there is room', async () => {
    const brokers = brokersOf()
    const topic = await create()
    const producer = await producerOf(brokers, { topic, maxPendingBytes: 100_000 })
    const sending = Array.from({ length: 11 }, () => producer.send({ value: Buffer.alloc(10_000) }))
    const refused = (await Promise.allSettled(sending)).filter(({ status }) => status === 'rejected')
    expect(refused).toHaveLength(1)
    await producer.writable()
    await producer.send({ value: Buffer.alloc(10_000) })
  })

  test('speaks TLS, and does not hang where the other end does not', async () => {
    const topic = await create()
    const tls = () => ({ ca: readFileSync(server.certificates.ca) })
    const brokers = brokersOf({ serviceUrl: server.tls.url, tls })
    const producer = await producerOf(brokers, { topic })
    await producer.send({ value: Buffer.from('over TLS') })
    const failing = { timeoutMs: 2_000 }
    await expect(brokersOf({ serviceUrl: server.tls.url, ...failing }).any()).rejects.toThrow(/certificate/)
    await expect(
      brokersOf({ serviceUrl: server.tls.url.replace('+ssl', ''), ...failing }).any(),
    ).rejects.toBeInstanceOf(PulsarError)
    await expect(
      brokersOf({ serviceUrl: server.url.replace('pulsar:', 'pulsar+ssl:'), tls, ...failing }).any(),
    ).rejects.toBeInstanceOf(PulsarError)
    const web = `pulsar://${new URL(server.web).host}`
    await expect(brokersOf({ serviceUrl: web, ...failing }).any()).rejects.toBeInstanceOf(PulsarError)
  })

  test('says who was not let in', async () => {
    const topic = await create()
    await expect(brokersOf({ authentication: undefined }).any()).rejects.toMatchObject({ code: 'AuthenticationError' })
    await expect(brokersOf({ authentication: bearing('nonsense') }).any()).rejects.toMatchObject({
      code: 'AuthenticationError',
    })
    const stranger = brokersOf({ authentication: bearing(server.token('stranger')) })
    await expect(Producer.open(stranger, { topic })).rejects.toMatchObject({ code: 'AuthorizationError' })
  })
}

/** A proxy to a port, whose connections can be cut. */
async function breaking(port: number) {
  const pairs = new Set<readonly [Socket, Socket]>()
  let cuts = 0
  const proxy = createServer(client => {
    const upstream = connect(port, '127.0.0.1')
    const pair = [client, upstream] as const
    pairs.add(pair)
    for (const socket of pair) socket.on('error', () => {}).on('close', () => pair.forEach(each => void each.destroy()))
    client.pipe(upstream).pipe(client)
    client.on('close', () => pairs.delete(pair))
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    cuts += pairs.size
    for (const pair of pairs) for (const socket of pair) socket.destroy()
  }
  return {
    port: (proxy.address() as { port: number }).port,
    cut,
    cuts: () => cuts,
    close: async () => {
      cut()
      proxy.close()
    },
  }
}
