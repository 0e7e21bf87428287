/** Durable appends of 1 KiB records to the embedded transport, beside a bare lmdb put loop with the same batches and flushes. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bytes, open } from '@weft/transport'
import { open as openLmdb } from 'lmdb'
import { sideBySide } from './side-by-side.ts'

const BATCH = 2_000
const BATCHES = 60
const value = new Uint8Array(1024).fill(120)

/** Batches wait for the one before them, so that each flush is waited for by both alike. */
async function timed(append: (batch: number) => Promise<unknown>) {
  await append(-1)
  const start = performance.now()
  for (let batch = 0; batch < BATCHES; batch++) await append(batch)
  return { 'records/s': (BATCH * BATCHES * 1000) / (performance.now() - start) }
}

async function bare(directory: string) {
  const db = openLmdb({ path: join(directory, 'bare'), encoding: 'binary', keyEncoding: 'uint32' })
  const figures = await timed(async batch => {
    db.transaction(() => {
      for (let i = 0; i < BATCH; i++) db.put((batch + 1) * BATCH + i, value as Buffer)
    })
    await db.flushed
  })
  await db.close()
  return figures
}

async function weft(directory: string) {
  await using transport = await open(`embedded:${join(directory, 'weft')}`)
  const topic = { name: 'bench' }
  await transport.admin.ensure([{ topic, partitions: 12 }])
  const batch = Array.from({ length: BATCH }, (_, i) => ({ key: bytes(`key-${i % 64}`), value, time: 1 }))
  return await timed(() => transport.append(topic, batch))
}

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

await sideBySide({
  file: fileURLToPath(import.meta.url),
  title: `Durable append, 1 KiB records, batches of ${BATCH}, one core`,
  contenders: { 'bare lmdb puts': () => inDirectory(bare), 'weft embedded': () => inDirectory(weft) },
  compare: ['records/s'],
  cores: '0',
})
