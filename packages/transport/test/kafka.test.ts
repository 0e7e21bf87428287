import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type KafkaServer, kafkaForTests, startKafka, stop } from '@weft/local/for-tests'
import { describe, expect, inject, test } from 'vitest'
import { account, counting, faultless } from '../src/conformance/counting.ts'
import { bodyOf, contents, gate, message, numbered, settled, until, within } from '../src/conformance/observe.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { LocalState } from '../src/kafka/local-state.ts'
import { bytes } from '../src/message.ts'
import type { Message, Transport } from '../src/transport.ts'

const server = await kafkaForTests(inject('servers'))
const quick = 'sessionMs=1500&patienceMs=1000&transactionMs=2000'

const fresh = (kind: string) => `${kind}-${crypto.randomUUID().slice(0, 13)}`

async function topicOf(transport: Transport, partitions = 4) {
  const topic = { name: fresh('topic') }
  await transport.admin.ensure([{ topic, partitions }])
  return topic
}

/** What is Kafka's own: what the conformance suite cannot ask of every transport. */
const cases = ({ port }: KafkaServer) => {
  const url = `kafka://127.0.0.1:${port}?${quick}`

  test.for(['gzip', 'snappy', 'lz4', 'zstd'])('compresses with %s what others read', async compression => {
    await using writer = await openKafka(`${url}&compression=${compression}`)
    await using reader = await openKafka(url)
    const topic = await topicOf(writer)
    const sent = numbered(200).map(each => ({ ...each, value: bytes(`${bodyOf(each)} ${'again '.repeat(50)}`) }))
    await writer.append(topic, sent)
    expect((await contents(reader, topic)).map(bodyOf).sort()).toEqual(sent.map(bodyOf).sort())
  })

  test('comes to lag 0 behind what nobody sees: markers and what was taken back', async () => {
    await using transport = await openKafka(url)
    const [input, output] = [await topicOf(transport), await topicOf(transport)]
    await transport.append(input, numbered(100))
    let calls = 0
    await using _ = await transport.transact(
      [input],
      { group: fresh('group'), commitEvery: { messages: 10 }, retry: { minMs: 1, maxMs: 5 } },
      (batch, transaction) => {
        transaction.append(output, batch)
        if (++calls % 2) throw new Error('every second time')
      },
    )
    const [subscribed, transacted] = [fresh('group'), fresh('group')]
    const handled: string[] = []
    await using reading = await transport.subscribe(
      output,
      { group: subscribed },
      each => void handled.push(bodyOf(each)),
    )
    await using counted = await transport.transact([output], { group: transacted }, () => {})
    await until('all is handled', () => handled.length === 100)
    for (const group of [subscribed, transacted]) await settled(transport, group)
    for (const running of [reading, counted])
      expect((await running.lag()).map(({ messages, ms }) => [messages, ms])).toEqual(Array(4).fill([0, 0]))
  })

  test('keeps local state where it is told to, and reads only the rest of the changelog after a restart', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'weft-state-'))
    const [group, seen] = [fresh('group'), [] as string[]]
    const run = async (transport: Transport, topic: { name: string }) => {
      await transport.append(topic, [message('k', 'one more')])
      await using _ = await transport.transact([topic], { group }, (_batch, transaction) => {
        const count = Number(Buffer.from(transaction.get('s', bytes('k')) ?? bytes('0')).toString()) + 1
        transaction.set('s', bytes('k'), bytes(String(count)))
        seen.push(String(count))
      })
      await settled(transport, group)
    }
    const reflected = async (cluster: string) => {
      const local = new LocalState(directory)
      const found = local.partition(cluster, group, 0).reflected?.offset
      await local.close()
      return found
    }
    let topic: { name: string }
    {
      await using transport = await openKafka(`${url}&state=${directory}`)
      topic = await topicOf(transport, 1)
      await run(transport, topic)
    }
    {
      await using transport = await openKafka(`${url}&state=${directory}`)
      const before = await reflected(transport.cluster)
      expect(before).toBe(1n)
      await run(transport, topic)
      // The changelog holds a record and a marker of each transaction.
      expect(await reflected(transport.cluster)).toBe(3n)
    }
    // Without the copy the changelog alone gives the same.
    await rm(directory, { recursive: true })
    await using transport = await openKafka(url)
    await run(transport, topic)
    expect(seen).toEqual(['1', '2', '3'])
  })

  test.for(['subscribe', 'transact'] as const)(
    'lets slow work of %s keep its partition, and names the limit when it holds up a hand-over for longer',
    async verb => {
      await using transport = await openKafka(`${url}&handoverMs=300`)
      const [input, group] = [await topicOf(transport, 1), fresh('group')]
      await transport.append(input, [message('k', 'slow')])
      const [begun, finish] = [gate(), gate()]
      const slow = async () => {
        begun.open()
        await finish.promise
      }
      const running = await (verb === 'subscribe'
        ? transport.subscribe(input, { group }, slow)
        : transport.transact([input], { group }, slow))
      await within('the work to begin', begun.promise)
      // Longer than its session: heartbeats go on, and so nobody else gets the partition.
      const seen: string[] = []
      await using _ = await transport.subscribe(input, { group }, each => void seen.push(bodyOf(each)))
      const lasted = performance.now() + 2_500
      await until('it has outlasted its session', () => performance.now() > lasted)
      expect(seen).toEqual([])
      expect(await Promise.race([running.done.then(() => 'over'), 'at work'])).toBe('at work')
      await running[Symbol.asyncDispose]()
      await expect(running.done).rejects.toMatchObject({
        code: 'FENCED',
        message: expect.stringContaining('handoverMs'),
      })
      await until('another has taken over', () => seen.length > 0)
      finish.open()
    },
  )

  test('goes on when the broker is killed and comes back: nothing lost, nothing doubled', {
    timeout: 180_000,
  }, async () => {
    const folder = path.join(inject('servers'), fresh('killed'))
    try {
      const broker = await startKafka({ folder, eager: true })
      await using transport = await openKafka(`${broker.url}?sessionMs=1500&patienceMs=60000&transactionMs=2000`)
      const [input, output, group] = [await topicOf(transport), await topicOf(transport), fresh('group')]
      const sent: Message[] = []
      const feed = async (count: number) => {
        for (let i = 0; i < count; i++) {
          const messages = numbered(5, 7, sent.length)
          sent.push(...messages)
          await transport.append(input, messages)
        }
      }
      await using _ = await transport.transact([input], { group, commitEvery: { messages: 20 } }, counting(output))
      for (let round = 0; round < 2; round++) {
        const feeding = feed(100)
        await until('it is at work', async () =>
          (await transport.admin.describe(output)).end.some(({ at }) => at !== '-1'),
        )
        await stop(folder, { signal: 'SIGKILL' })
        await startKafka({ folder, eager: true })
        await feeding
      }
      await settled(transport, group)
      expect(account(sent, await contents(transport, output))).toEqual(faultless)
    } finally {
      await stop(folder)
      await rm(folder, { recursive: true, force: true })
    }
  })
}

if (server) describe('kafka', () => cases(server))
else test.skip('kafka’s own cases: not run here, see the last lines', () => {})
