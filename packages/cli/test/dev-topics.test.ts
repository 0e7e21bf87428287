import { stat } from 'node:fs/promises'
import path from 'node:path'
import { loadCatalogue } from '@weft/schema'
import { type EmbeddedTransport, open } from '@weft/transport'
import { expect, test } from 'vitest'
import { ensureBounded } from '../src/dev-topics.ts'
import { temporary } from './spawned.ts'

const catalogue = await loadCatalogue()

test('development bounds what a partition of its own store keeps, and differs from nothing at the next start', async () => {
  await using folder = await temporary()
  await using transport = await open(`embedded:${folder.path}`)
  expect(await ensureBounded(transport, catalogue, 5_000)).toEqual([])
  const specs = new Map((await transport.admin.topics()).map(spec => [spec.topic.name, spec]))
  for (const { topic, cleanup, retentionBytes } of catalogue.specs()) {
    const bound = cleanup === 'compact' ? undefined : (retentionBytes ?? 5_000)
    expect(specs.get(topic.name)?.retentionBytes, topic.name).toBe(bound)
  }
  expect(await ensureBounded(transport, catalogue, 7_000)).toEqual([])
  expect(await transport.admin.ensure(catalogue.specs())).toEqual([])
})

test('a store with bounded partitions stops growing, however much goes through it', async () => {
  await using folder = await temporary()
  await using transport = (await open(`embedded:${folder.path}`)) as EmbeddedTransport
  await ensureBounded(transport, catalogue, 50_000)
  const message = { value: Buffer.alloc(1_000, 'x'), time: 0 }
  const sizes: number[] = []
  for (let round = 0; round < 30; round++) {
    for (let n = 0; n < 12; n++)
      await transport.append({ name: 'events.raw.v1' }, Array(100).fill(message), { partition: n })
    await transport.maintain()
    sizes.push((await stat(path.join(folder.path, 'data.mdb'))).size)
  }
  const { first, end } = await transport.admin.describe({ name: 'events.raw.v1' })
  const kept = end.map(({ at }, n) => Number(at) - Number(first[n]?.at))
  for (const records of kept) expect(records).toSatisfy(n => n > 0 && n < 100)
  // What was let go is taken again: 36 MB went through.
  expect(Math.max(...sizes)).toBeLessThan(6e6)
})
