import { rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type KafkaCluster, orNotRun, startKafkaCluster } from '@weft/local/for-tests'
import { expect, inject, test } from 'vitest'
import { account, counting, faultless } from '../src/conformance/counting.ts'
import { contents, numbered, settled, until } from '../src/conformance/observe.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { settingsOf } from '../src/kafka/url.ts'
import type { Message } from '../src/transport.ts'
import { DRIVERS } from './kafka-drivers.ts'

const PARTITIONS = 6

/** Which brokers lead the topic's partitions now. */
async function leadersOf(url: string, topic: string): Promise<Set<number>> {
  const [[, make]] = DRIVERS as [(typeof DRIVERS)[number]]
  await using driver = make({ brokers: settingsOf(url).brokers, clientId: 'weft-test', timeoutMs: 10_000 })
  const { topics } = await driver.lane().metadata([topic])
  return new Set(topics[0]?.leaders)
}

/** Appends, and counts what was appended, until `moved` is over; resolves with what is wrong with the counts. */
async function work({ url }: KafkaCluster, driver: string, moved: (topic: string) => Promise<void>) {
  await using transport = await openKafka(`${url}?driver=${driver}&sessionMs=6000&patienceMs=60000&transactionMs=20000`)
  const [input, output] = [1, 2].map(() => ({ name: `moving-${crypto.randomUUID()}` })) as [
    { name: string },
    { name: string },
  ]
  const group = `moving-${crypto.randomUUID()}`
  await transport.admin.ensure([input, output].map(topic => ({ topic, partitions: PARTITIONS })))
  await using _ = await transport.transact([input], { group, commitEvery: { messages: 50 } }, counting(output))
  const sent: Message[] = []
  let goesOn = true
  const feeding = (async () => {
    while (goesOn) {
      const messages = numbered(10, 20, sent.length)
      sent.push(...messages)
      await transport.append(input, messages)
      // Leaders move for as long as it takes: at full speed that would be millions.
      await sleep(20)
    }
  })()
  try {
    await moved(input.name)
  } finally {
    goesOn = false
    await feeding
  }
  await settled(transport, group)
  return account(sent, await contents(transport, output))
}

test('loses and doubles nothing when brokers are killed, shut down and come back, and leaders move with them', {
  timeout: 300_000,
}, async ({ skip }) => {
  const folder = path.join(inject('servers'), 'three')
  try {
    await using cluster = await orNotRun('tests with three Kafka brokers', () => startKafkaCluster({ folder }))
    if (!cluster) return skip('not run here, see the last lines')
    const led = (topic: string, what: string, by: (leaders: Set<number>) => boolean) =>
      until(what, async () => by(await leadersOf(cluster.url, topic)), 90_000)
    // All work on the same three brokers, so that these are stopped once.
    const waiting = DRIVERS.map(() => Promise.withResolvers<void>())
    const topics: string[] = []
    const working = DRIVERS.map(([driver], i) =>
      work(cluster, driver, async topic => {
        topics.push(topic)
        await waiting[i]?.promise
      }),
    )
    const failed = Promise.race(working)
    await Promise.race([failed, until('all are at work', () => topics.length === DRIVERS.length)])
    for (const [id, signal] of [
      [2, 'SIGKILL'],
      [3, 'SIGTERM'],
    ] as const) {
      for (const topic of topics) await led(topic, `broker ${id} leads`, leaders => leaders.has(id))
      await cluster.stop(id, signal)
      for (const topic of topics) await led(topic, `another leads`, leaders => !leaders.has(id) && !leaders.has(-1))
      await cluster.start(id)
      for (const topic of topics) await led(topic, `broker ${id} leads again`, leaders => leaders.has(id))
    }
    for (const { resolve } of waiting) resolve()
    for (const outcome of await Promise.all(working)) expect(outcome).toEqual(faultless)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
