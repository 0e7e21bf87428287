import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type KafkaServer, kafkaForTests } from '@weft/local/for-tests'
import { describe, expect, inject, test } from 'vitest'
import { account, counting, faultless } from '../src/conformance/counting.ts'
import { bodyOf, contents, gate, message, numbered, settled, until, within } from '../src/conformance/observe.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { LocalState } from '../src/kafka/local-state.ts'
import { platformatic } from '../src/kafka/platformatic/platformatic.ts'
import { bytes, HEADERS, header, headerOf } from '../src/message.ts'
import type { Position, Received, Transport } from '../src/transport.ts'

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
      const local = await LocalState.open(directory)
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

  test('keeps copies of the state on other members, and goes on from them', async () => {
    const directories = await Promise.all([1, 2].map(() => mkdtemp(path.join(tmpdir(), 'weft-state-'))))
    const [one, other] = directories as [string, string]
    await using first = await openKafka(`${url}&standbys=1&state=${one}`)
    await using second = await openKafka(`${url}&standbys=1&state=${other}`)
    const [input, output, group] = [await topicOf(first), await topicOf(first), fresh('group')]
    const running = await first.transact([input], { group }, counting(output))
    await using _ = await second.transact([input], { group }, counting(output))
    const sent = numbered(400, 200)
    await first.append(input, sent)
    await settled(first, group)
    // Each of them has all of it, whoever owns it.
    const reflected = async (directory: string) => {
      const local = await LocalState.open(directory)
      const found = [0, 1, 2, 3].map(partition => local.partition(first.cluster, group, partition).reflected?.offset)
      return { found, close: () => local.close() }
    }
    const [mine, theirs] = [await reflected(one), await reflected(other)]
    await Promise.all([mine.close(), theirs.close()])
    const least = mine.found.map((offset, i) => [offset ?? 0n, theirs.found[i] ?? 0n].reduce((a, b) => (a > b ? a : b)))
    for (const directory of directories)
      await until('its copies are warm', async () => {
        const { found, close } = await reflected(directory)
        await close()
        return found.every((offset, i) => offset !== undefined && offset >= (least[i] as bigint))
      })
    await running[Symbol.asyncDispose]()
    const more = numbered(200, 200, 400)
    await first.append(input, more)
    await settled(first, group)
    expect(account([...sent, ...more], await contents(first, output))).toEqual(faultless)
    await Promise.all(directories.map(directory => rm(directory, { recursive: true, force: true })))
  })

  /** A topic that somebody else made, with a limit of its own. */
  async function tight(transport: Transport, maxBytes: number) {
    const topic = await topicOf(transport, 1)
    const broker = { id: 1, host: '127.0.0.1', port }
    await using driver = platformatic({ brokers: [broker], clientId: 'weft-test', timeoutMs: 10_000 })
    await using lane = driver.lane()
    await lane.alterConfigs({ kind: 'topic', name: topic.name }, { 'max.message.bytes': String(maxBytes) })
    // A broker learns of it a moment later.
    const large = message('k', 'x'.repeat(2 * maxBytes))
    await until('the limit holds', () =>
      transport.append(topic, [large]).then(
        () => false,
        error => error.code === 'TOO_LARGE',
      ),
    )
    const { end } = await transport.admin.describe(topic)
    return { topic, from: { after: end } }
  }

  test('appends to a topic that takes little at once whatever it takes one by one, and refuses only the rest', async () => {
    await using transport = await openKafka(url)
    const { topic, from } = await tight(transport, 20_000)
    const small = numbered(100, 7).map(each => ({ ...each, headers: [header('more', 'x'.repeat(2_000))] }))
    const large = message('k', 'x'.repeat(30_000))
    const [whole, refused, single] = await Promise.allSettled([
      transport.append(topic, small),
      transport.append(topic, [large]),
      transport.append(topic, numbered(10, 1, 100)),
    ])
    expect([whole.status, refused.status, single.status]).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(refused).toMatchObject({ reason: { code: 'TOO_LARGE' } })
    const found = await contents(transport, topic, from)
    expect(found.map(bodyOf)).toEqual(numbered(110).map(bodyOf))
    expect((whole as PromiseFulfilledResult<readonly Position[]>).value).toEqual(
      found.slice(0, 100).map(({ position }) => position),
    )
  })

  test('makes a dead letter of the input whose output the topic refuses as too large, and goes on', async () => {
    await using transport = await openKafka(url)
    const { topic: output, from } = await tight(transport, 20_000)
    const [input, group] = [await topicOf(transport, 1), fresh('group')]
    await transport.append(input, numbered(200))
    await using _ = await transport.transact([input], { group }, (batch, transaction) => {
      for (const each of batch)
        transaction.append(output, [message('k', bodyOf(each).padEnd(bodyOf(each) === '77' ? 30_000 : 1_000))])
    })
    await settled(transport, group)
    const good = numbered(200)
      .map(bodyOf)
      .filter(body => body !== '77')
    expect((await contents(transport, output, from)).map(each => bodyOf(each).trim())).toEqual(good)
    const letters = await contents(transport, { name: `${input.name}.dlq` })
    expect(letters.map(bodyOf)).toEqual(['77'])
    expect(headerOf(letters[0] as Received, HEADERS.errorCode)).toBe('TOO_LARGE')
  })

  test('ends a transaction by time or by number, whichever comes first', async () => {
    await using transport = await openKafka(url)
    const [input, sizes] = [await topicOf(transport, 1), [] as number[]]
    const commitEvery = { ms: 2_000, messages: 30 }
    const process = (batch: readonly Received[]) => void sizes.push(batch.length)
    await using _ = await transport.transact([input], { group: fresh('group'), commitEvery }, process)
    // Far more than are taken at once, then a few that come one by one within much less than that time.
    await transport.append(input, numbered(90))
    await until('the many are done', () => sizes.reduce((sum, size) => sum + size, 0) === 90)
    expect(sizes).toEqual([30, 30, 30])
    for (let i = 0; i < 10; i++) await transport.append(input, numbered(1))
    await until('the few are done', () => sizes.reduce((sum, size) => sum + size, 0) === 100)
    expect(sizes.length).toBeLessThan(3 + 8)
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
}

if (server) describe('kafka', () => cases(server))
else test.skip('kafka’s own cases: not run here, see the last lines', () => {})
