import { kafkaForTests } from '@weft/local/for-tests'
import { describe, expect, inject, test } from 'vitest'
import { until } from '../src/conformance/observe.ts'
import { open, type TopicSpec, type Transport, topicDifferences } from '../src/index.ts'

const server = await kafkaForTests(inject('servers'))

for (const driver of ['platformatic', 'kafkajs'])
  if (server) describe(`topics on Kafka, by ${driver},`, () => cases(`${server.url}?driver=${driver}`))
  else test.skip(`topics on Kafka, by ${driver}: not run here, see the last lines`, () => {})

function cases(url: string) {
  const fresh = () => ({ name: `topic-${crypto.randomUUID().slice(0, 13)}` })
  const specOf = async ({ admin }: Transport, name: string) =>
    (await admin.topics()).find(({ topic }) => topic.name === name) as TopicSpec

  test('tell how many copies they have, and how many of them have to be in sync', async () => {
    await using transport = await open(url)
    const topic = fresh()
    await transport.admin.ensure([{ topic, partitions: 2, replicas: 1, minInSync: 1 }])
    expect(await specOf(transport, topic.name)).toMatchObject({ replicas: 1, minInSync: 1 })
  })

  test('get as many copies as the URL says, the transport’s own ones too, unless they say so themselves', async () => {
    await using transport = await open(`${url}&minInSync=2`)
    const [input, own] = [fresh(), fresh()]
    const specs = [
      { topic: input, partitions: 1 },
      { topic: own, partitions: 1, minInSync: 1 },
    ]
    await transport.admin.ensure(specs)
    await using _running = await transport.subscribe(input, { group: fresh().name }, () => {})
    for (const [name, minInSync] of [
      [input.name, 2],
      [own.name, 1],
      [`${input.name}.dlq`, 2],
    ] as const)
      expect(await specOf(transport, name)).toMatchObject({ replicas: 1, minInSync })
  })

  test('are refused by name where there are not enough brokers for their copies', async () => {
    await using transport = await open(url)
    const topic = fresh()
    await expect(transport.admin.ensure([{ topic, partitions: 1, replicas: 3 }])).rejects.toMatchObject({
      code: 'INVALID',
      message: expect.stringMatching(`${topic.name}.*[Rr]eplication`),
    })
    await expect(transport.admin.ensure([{ topic, partitions: 1, replicas: 1, minInSync: 2 }])).rejects.toMatchObject({
      code: 'INVALID',
      message: expect.stringContaining(topic.name),
    })
    expect(await specOf(transport, topic.name)).toBeUndefined()
    await expect(open(`${url}&replicas=1&minInSync=2`)).rejects.toMatchObject({ code: 'INVALID' })
  })

  test('change the number that has to be in sync in place, and copies by Kafka’s own tool', async () => {
    await using transport = await open(url)
    const topic = fresh()
    const was = { topic, partitions: 1, retentionMs: 3_600_000, minInSync: 1 }
    await transport.admin.ensure([was])
    await transport.admin.alter([{ ...was, minInSync: 2 }])
    await until('it is changed', async () => (await specOf(transport, topic.name)).minInSync === 2)
    expect(await transport.admin.ensure([was])).toEqual([`topic "${topic.name}" has minInSync 2, not 1`])
    const wanted = { ...was, minInSync: 2, replicas: 3 }
    await expect(transport.admin.alter([wanted])).rejects.toMatchObject({
      code: 'INVALID',
      message: expect.stringContaining('kafka-reassign-partitions'),
    })
    expect(topicDifferences(await specOf(transport, topic.name), wanted)).toMatchObject([
      { field: 'replicas', is: 1, wanted: 3 },
    ])
  })

  test('that others made keep what they were not asked to change', async () => {
    await using transport = await open(url)
    const topic = fresh()
    await transport.admin.ensure([{ topic, partitions: 1, retentionMs: 86_400_000, retentionBytes: 100_000_000 }])
    await transport.admin.alter([{ topic, partitions: 1, retentionMs: 3_600_000 }])
    await until('it is changed', async () => (await specOf(transport, topic.name)).retentionMs === 3_600_000)
    expect((await specOf(transport, topic.name)).retentionBytes).toBe(100_000_000)
  })
}
