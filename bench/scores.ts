/** Scores of the purchase-intent model on one core: one at a time, in micro-batches, and single ones at 5,000 a second. */
import { fileURLToPath } from 'node:url'
import { loadScorer, type Scorer } from '@weft/pipeline'
import { percentile, sideBySide } from './side-by-side.ts'

const SECONDS = 4
const row = [2, 40.5, 0, 0, 19, 607, 0, 5, 1, 0, 3]

const rows = (count: number) =>
  Float32Array.from({ length: count * row.length }, (_, i) => (row[i % row.length] ?? 0) + (i % 7))

async function inBatchesOf(size: number) {
  const scorer = await loadScorer()
  const input = rows(size)
  for (let i = 0; i < 50; i++) await scorer.score(input, size)
  const began = performance.now()
  let scored = 0
  while (performance.now() - began < SECONDS * 1000) {
    await scorer.score(input, size)
    scored += size
  }
  return { 'scores/s': (scored * 1000) / (performance.now() - began) }
}

/** An open loop: each is due at its time whether or not the ones before it are back. */
async function singlesAt(rate: number) {
  const scorer: Scorer = await loadScorer()
  const input = rows(1)
  for (let i = 0; i < 500; i++) await scorer.score(input, 1)
  const latencies: number[] = []
  const began = performance.now()
  const total = rate * SECONDS
  for (let sent = 0; sent < total; ) {
    while (sent < total && began + (sent * 1000) / rate <= performance.now()) {
      const due = began + (sent++ * 1000) / rate
      scorer.score(input, 1).then(() => latencies.push(performance.now() - due))
    }
    // Not a spin: the thread that infers has the same core.
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  while (latencies.length < total) await new Promise(resolve => setTimeout(resolve, 1))
  return { 'scores/s': (total * 1000) / (performance.now() - began), 'p99 ms': percentile(latencies, 0.99) }
}

await sideBySide({
  file: fileURLToPath(import.meta.url),
  title: 'Scores of the purchase-intent model, one core',
  contenders: {
    'one by one': () => inBatchesOf(1),
    'batches of 16': () => inBatchesOf(16),
    'batches of 64': () => inBatchesOf(64),
    'singles at 5,000/s': () => singlesAt(5_000),
  },
  compare: ['scores/s'],
  cores: '0',
})
