import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { kafkaTool, orNotRun, startKafka, stop } from '@weft/local/for-tests'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { settled, until } from '../src/conformance/observe.ts'
import { bytes, type Message, open, type Topic } from '../src/index.ts'

/** A broker that asks for rights; whoever comes by its plain listener has all. */
const folder = await mkdtemp(path.join(tmpdir(), 'weft-acls-'))
const broker = await orNotRun('ACLs of tenants on Kafka', () =>
  startKafka({
    folder,
    eager: true,
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS',
    },
  }),
)

afterAll(async () => {
  await stop(folder)
  await rm(folder, { recursive: true, force: true })
})

/** The lines that docs/kafka.md gives for a tenant acme, each as arguments, for another principal. */
async function documented(principal: string): Promise<string[][]> {
  const text = await readFile(new URL('../../../docs/kafka.md', import.meta.url), 'utf8')
  const [, common = ''] = /^acl\(\) \{ kafka-acls (.*) "\$@"; \}$/m.exec(text) ?? []
  const lines = [...text.matchAll(/^acl (--.*)$/gm)].map(([, line = '']) => `${common} ${line}`)
  return lines.map(line =>
    line
      .replace(/--bootstrap-server \S+ /, '')
      .replace('User:acme', `User:${principal}`)
      .split(/\s+/),
  )
}

if (!broker) test.skip('ACLs of tenants on Kafka: not run here, see the last lines', () => {})
else
  describe('a user with the ACLs that docs/kafka.md gives for a tenant', () => {
    const { name, password } = broker.user
    vi.stubEnv('WEFT_KAFKA_PASSWORD', password)
    const url = `kafka://127.0.0.1:${broker.secure.SASL_PLAINTEXT}?sasl=scram-sha-512&user=${name}&sessionMs=1500&patienceMs=3000`
    const message = (key: string): Message => ({ key: bytes(key), value: bytes(key), time: 1 })
    const [mine, out]: Topic[] = [
      { name: 'in', tenant: 'acme' },
      { name: 'out', tenant: 'acme' },
    ] as const

    test('does all that its tenant may, and the broker refuses it everything else', async () => {
      const lines = await documented(name)
      expect(lines).toHaveLength(2)
      const at = ['--bootstrap-server', `127.0.0.1:${broker.port}`]
      for (const line of lines) await kafkaTool('org.apache.kafka.tools.AclCommand', ...at, ...line)

      await using transport = await open(url, { tenant: 'acme' })
      await transport.admin.ensure([mine, out].map(topic => ({ topic: topic as Topic, partitions: 2 })))
      await transport.append(mine as Topic, ['a', 'b', 'bad'].map(message))
      {
        await using _running = await transport.transact([mine as Topic], { group: 'g' }, (batch, transaction) => {
          for (const { key } of batch) transaction.set('seen', key as Uint8Array, bytes('1'))
          transaction.append(out as Topic, batch)
        })
        await settled(transport, 'g')
      }
      const handled: string[] = []
      const subscribing = { group: 'h', retry: { maxAttempts: 1 } }
      await using _other = await transport.subscribe(out as Topic, subscribing, ({ key }) => {
        const text = Buffer.from(key as Uint8Array).toString()
        if (text === 'bad') throw new Error('no')
        handled.push(text)
      })
      await until('both were handled', () => handled.length === 2)
      await using writer = await transport.writer('w')
      await writer.append(out as Topic, [{ sequence: 1n, message: message('written') }])
      await until('it was handled', () => handled.includes('written'))
      await transport.admin.alter([{ topic: out as Topic, partitions: 2, retentionMs: 3_600_000 }])
      expect((await transport.admin.reset('g', mine as Topic, 'earliest')).stateful).toBe(true)

      // As one who does not keep to the convention, so that it is the broker who refuses.
      await using owner = await open(broker.url)
      const [other, nobodys] = [{ name: 'in', tenant: 'acme2' }, { name: 'plain' }]
      await owner.admin.ensure([other, nobodys].map(topic => ({ topic, partitions: 1 })))
      await using rogue = await open(url)
      const seen = (await rogue.admin.topics()).map(({ topic }) => topic.tenant)
      expect(new Set(seen)).toEqual(new Set(['acme']))
      for (const topic of [other, nobodys]) {
        await expect(rogue.append(topic, [message('x')])).rejects.toMatchObject({ code: 'DENIED' })
        await expect(rogue.admin.describe(topic)).rejects.toMatchObject({ code: 'DENIED' })
      }
      await expect(rogue.admin.ensure([{ topic: { name: 'new' }, partitions: 1 }])).rejects.toMatchObject({
        code: 'DENIED',
      })
      await expect(rogue.subscribe(mine as Topic, { group: 'elsewhere' }, () => {})).rejects.toMatchObject({
        code: 'DENIED',
      })
      await expect(rogue.writer('elsewhere')).rejects.toMatchObject({ code: 'DENIED' })
    })
  })
