import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openEmbedded } from '../src/index.ts'

let directory: string
let file: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weft-file-'))
  file = join(directory, 'data.mdb')
})
afterEach(() => rm(directory, { recursive: true, force: true }))

test.each([1, 159, 4_096, 100_000])('a file of %i bytes that is no store is refused and left as it is', async size => {
  await writeFile(file, Buffer.alloc(size, 'no store'))
  await expect(openEmbedded(`embedded:${directory}`)).rejects.toMatchObject({
    code: 'INVALID',
    message: expect.stringMatching(/data\.mdb" is not a store of Weft, or it is damaged/),
  })
  expect((await stat(file)).size).toBe(size)
})

test('a store of which a part is missing is refused, and one that is whole is opened again', async () => {
  const topic = { name: 'events' }
  {
    await using transport = await openEmbedded(`embedded:${directory}`)
    await transport.admin.ensure([{ topic, partitions: 1 }])
    for (let n = 0; n < 20; n++)
      await transport.append(topic, Array(500).fill({ value: Buffer.alloc(1_000, 'x'), time: 0 }))
  }
  {
    await using transport = await openEmbedded(`embedded:${directory}`)
    expect((await transport.admin.describe(topic)).end).toEqual([{ partition: 0, at: '9999' }])
  }
  await truncate(file, 2_000_000)
  await expect(openEmbedded(`embedded:${directory}`)).rejects.toMatchObject({
    code: 'INVALID',
    message: expect.stringMatching(/is cut short: data\.mdb has 2000000 of \d+ bytes/),
  })
})
