import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type KafkaServer, kafkaForTests, startKafka, stop } from '@weft/local/for-tests'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { spawnProgram } from '../src/conformance/child.ts'
import { account, counting, faultless } from '../src/conformance/counting.ts'
import { bodyOf, contents, numbered, settled, until } from '../src/conformance/observe.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { type Message, type Topic, type Transport, WeftError } from '../src/transport.ts'
import { END_TRANSACTION, openRoad, type Road } from './kafka-road.ts'

/** How long a broker is away, in seconds: longer than sessions, patience and requests last. WEFT_OUTAGE=60 for a minute. */
const OUTAGE = Number(process.env.WEFT_OUTAGE ?? 8)
const timeout = 180_000 + 3_000 * OUTAGE
const quick = 'sessionMs=1500&patienceMs=1000&transactionMs=2000'

const fresh = (kind: string) => `${kind}-${crypto.randomUUID().slice(0, 13)}`

async function topicOf(transport: Transport, partitions = 4) {
  const topic = { name: fresh('topic') }
  await transport.admin.ensure([{ topic, partitions }])
  return topic
}

function unlessAway(error: unknown): undefined {
  if (!(error instanceof WeftError && error.retryable)) throw error
}

/** Writes numbered messages once each, whatever becomes of the broker, until it is ended. */
async function feeding(transport: Transport, topic: Topic) {
  const writer = await transport.writer(fresh('writer'))
  const sent: Message[] = []
  let going = true
  const working = (async () => {
    while (going) {
      try {
        const last = Number((await writer.last(topic)) ?? 0n)
        const messages = numbered(20, 10, last)
        await writer.append(
          topic,
          messages.map((each, i) => ({ sequence: BigInt(last + i + 1), message: each })),
        )
      } catch (error) {
        unlessAway(error)
      }
      await sleep(10)
    }
    const last = await until('the writer knows what it wrote', () => writer.last(topic).catch(unlessAway))
    sent.push(...numbered(Number(last)))
    await writer[Symbol.asyncDispose]()
  })()
  const end = async () => {
    going = false
    await working
    return sent
  }
  return { end, [Symbol.asyncDispose]: async () => void (await end()) }
}

const cases = () => {
  const folder = path.join(inject('servers'), fresh('outages'))
  let broker: KafkaServer
  let road: Road
  const direct = () => `kafka://127.0.0.1:${broker.port}?${quick}`
  const byRoad = () => `kafka://127.0.0.1:${broker.road.advertise}?${quick}`
  const start = () => startKafka({ folder, eager: true })
  /** It takes the ports that it had, if nobody is there. */
  const restart = async () => {
    await road.close()
    broker = await start()
    await road.open()
  }

  beforeAll(async () => {
    broker = await start()
    road = await openRoad(broker.road.advertise, broker.road.listen)
  }, timeout)

  afterEach(() => {
    road.watch = undefined
  })

  afterAll(async () => {
    await road.close()
    await stop(folder)
    await rm(folder, { recursive: true, force: true })
  })

  const outages = [
    ['is killed', () => stop(folder, { signal: 'SIGKILL' }), restart],
    ['hangs', () => process.kill(broker.pid, 'SIGSTOP'), () => process.kill(broker.pid, 'SIGCONT')],
    ['cannot be reached', () => road.close(), () => road.open()],
  ] as const
  test.for(outages)(
    'goes on after a broker %s and comes back: nothing lost, nothing doubled, no memory kept',
    {
      timeout,
    },
    async ([, away, back]) => {
      await using transport = await openKafka(byRoad())
      const [input, output, group, other] = [
        await topicOf(transport),
        await topicOf(transport),
        fresh('group'),
        fresh('group'),
      ]
      await using feed = await feeding(transport, input)
      await using _ = await transport.transact([input], { group, commitEvery: { messages: 20 } }, counting(output))
      const handled = new Set<string>()
      await using __ = await transport.subscribe(input, { group: other }, each => void handled.add(bodyOf(each)))
      const before = await memory()
      for (let round = 0; round < 2; round++) {
        const seen = handled.size
        await until('it is at work', () => handled.size > seen + 100)
        await away()
        await sleep(OUTAGE * 1_000)
        expect((await memory()) - before).toBeLessThan(48 * 1_048_576)
        await back()
        if (round === 0) broker = await start()
      }
      const sent = await feed.end()
      await settled(transport, group)
      await settled(transport, other)
      expect(account(sent, await contents(transport, output))).toEqual(faultless)
      expect(handled.size).toBe(sent.length)
    },
  )

  test('finds out what became of commits whose answers are lost: each counts once', { timeout }, async () => {
    await using transport = await openKafka(byRoad())
    const [input, output, group] = [await topicOf(transport), await topicOf(transport), fresh('group')]
    const sent = numbered(400, 20)
    const fates = { cut: 0, lose: 0 }
    let ends = 0
    road.watch = kind => {
      if (kind !== END_TRANSACTION || ++ends % 3 === 0) return 'pass'
      const fate = ends % 3 === 1 ? 'lose' : 'cut'
      fates[fate]++
      return fate
    }
    await using _ = await transport.transact([input], { group, commitEvery: { messages: 20 } }, counting(output))
    for (let at = 0; at < sent.length; at += 40) await transport.append(input, sent.slice(at, at + 40))
    await settled(transport, group)
    expect(account(sent, await contents(transport, output))).toEqual(faultless)
    expect(fates.cut).toBeGreaterThan(2)
    expect(fates.lose).toBeGreaterThan(2)
  })

  test('leaves nothing doubled behind when it ends while a commit is in doubt', { timeout }, async () => {
    await using transport = await openKafka(direct())
    const [input, output, group] = [await topicOf(transport, 1), await topicOf(transport, 1), fresh('group')]
    const sent: Message[] = []
    for (let round = 0; round < 3; round++) {
      await using doubtful = await openKafka(byRoad())
      const { promise: lost, resolve } = Promise.withResolvers<void>()
      road.watch = kind => {
        if (kind !== END_TRANSACTION) return 'pass'
        resolve()
        return 'lose'
      }
      const running = await doubtful.transact([input], { group }, counting(output))
      const messages = numbered(10, 3, sent.length)
      sent.push(...messages)
      await transport.append(input, messages)
      await lost
      // The broker commits it, and then nobody can ask whether it did.
      await until('it is committed', async () => {
        const { end } = await transport.admin.describe(output)
        return Number(end[0]?.at) + 1 >= sent.length
      })
      await road.close()
      road.watch = undefined
      const left = running[Symbol.asyncDispose]()
      await sleep(300)
      await road.open()
      await left
      await using _ = await transport.transact([input], { group }, counting(output))
      await settled(transport, group)
    }
    expect(account(sent, await contents(transport, output))).toEqual(faultless)
  })

  test('does not take a transaction that a broker ended for taking too long for another owner of the writer', {
    timeout,
  }, async () => {
    await using transport = await openKafka(byRoad())
    await using other = await openKafka(direct())
    const [topic, name] = [await topicOf(transport), fresh('writer')]
    const writer = await transport.writer(name)
    const [first, second] = numbered(2) as [Message, Message]
    await writer.append(topic, [{ sequence: 1n, message: first }])
    const free = Promise.withResolvers<'pass'>()
    const { end } = await other.admin.describe(topic)
    road.watch = kind => (kind === END_TRANSACTION ? free.promise : 'pass')
    const appended = writer.append(topic, [{ sequence: 2n, message: second }])
    appended.catch(() => {})
    // Readers get on when the broker has taken it back: the marker of that is there, and nothing before it.
    await until('the broker has ended it', async () => {
      const now = (await other.admin.describe(topic)).end
      return now.some(({ at }, i) => Number(at) > Number(end[i]?.at) + 1)
    })
    road.watch = undefined
    free.resolve('pass')
    await expect(appended).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await until('it knows where it is', async () => (await writer.last(topic).catch(unlessAway)) === 1n)
    await writer.append(topic, [{ sequence: 2n, message: second }])
    expect((await contents(transport, topic)).map(bodyOf).sort()).toEqual(['0', '1'])
    // One that really has the name now is known for what it is.
    await using _ = await other.writer(name)
    await expect(writer.append(topic, [{ sequence: 3n, message: first }])).rejects.toMatchObject({ code: 'FENCED' })
  })

  test('refuses the commit of a process that slept while its partitions were taken over', { timeout }, async () => {
    await using transport = await openKafka(direct())
    const [input, output, group] = [await topicOf(transport), await topicOf(transport), fresh('group')]
    const late = Promise.withResolvers<'pass'>()
    const held = Promise.withResolvers<void>()
    road.watch = kind => {
      if (kind !== END_TRANSACTION) return 'pass'
      held.resolve()
      return late.promise
    }
    await using zombie = spawnProgram('counter', { url: byRoad(), input, output, group })
    await zombie.first('joined')
    const sent = numbered(40, 8)
    await transport.append(input, sent)
    // All but the last word of its transaction is there, and that is on the way.
    await held.promise
    zombie.stop()
    await using _ = await transport.transact([input], { group }, counting(output))
    await settled(transport, group)
    expect(account(sent, await contents(transport, output))).toEqual(faultless)
    late.resolve('pass')
    zombie.resume()
    const more = numbered(40, 8, 40)
    await transport.append(input, more)
    await settled(transport, group)
    zombie.say('leave')
    await zombie.ended()
    expect(account([...sent, ...more], await contents(transport, output))).toEqual(faultless)
  })
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

async function memory(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect()
    await new Promise(setImmediate)
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

if (await kafkaForTests(inject('servers'))) describe('kafka', cases)
else test.skip('kafka’s outages: not run here, see the last lines', () => {})
