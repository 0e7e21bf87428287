import { randomInt } from 'node:crypto'

/** Of each id: at 10 bits an id, 7 of them set, one in a hundred that was never added is taken for one that was. */
const BITS = 10
const PROBES = 7

interface Generation {
  readonly bits: Uint32Array
  /** A power of two, less one. */
  readonly mask: number
  readonly capacity: number
  count: number
  /** When the last was added, milliseconds since the epoch. */
  latest: number
}

/**
 * Tells of most texts that were never added that they were not (a Bloom filter), and forgets them `windowMs` after they
 * were added, or later. It grows by generations, each as large as all before it, up to `maxBytes`; from there on it only
 * becomes less sharp.
 */
export class Bloom {
  readonly #windowMs: number
  readonly #maxBytes: number
  /** So that nobody can choose texts that are all taken for known ones. */
  readonly #seed = randomInt(2 ** 32)
  /** The newest first. */
  #generations: Generation[]

  constructor(windowMs: number, { capacity = 500_000, maxBytes = 64 << 20 } = {}) {
    this.#windowMs = windowMs
    this.#maxBytes = maxBytes
    this.#generations = [generation(capacity)]
  }

  add(text: string, now: number = Date.now()): void {
    let newest = this.#generations[0] as Generation
    if (newest.count >= newest.capacity) newest = this.#next(newest, now)
    newest.count++
    newest.latest = now
    const first = hashOf(text, this.#seed)
    const step = stepOf(first)
    const { bits, mask } = newest
    for (let probe = 0, hash = first; probe < PROBES; probe++, hash = (hash + step) | 0)
      bits[(hash & mask) >>> 5] = (bits[(hash & mask) >>> 5] as number) | (1 << (hash & 31))
  }

  /** False only for what was not added within the window. */
  mayHave(text: string): boolean {
    const first = hashOf(text, this.#seed)
    const step = stepOf(first)
    for (const { bits, mask } of this.#generations) {
      let probe = 0
      for (let hash = first; probe < PROBES; probe++, hash = (hash + step) | 0)
        if (((bits[(hash & mask) >>> 5] as number) & (1 << (hash & 31))) === 0) break
      if (probe === PROBES) return true
    }
    return false
  }

  #next(newest: Generation, now: number): Generation {
    this.#generations = this.#generations.filter(({ latest }) => latest >= now - this.#windowMs)
    const bytes = this.#generations.reduce((sum, { bits }) => sum + bits.byteLength, 0)
    const capacity = newest.capacity * (this.#generations.length > 0 ? 2 : 1)
    const next = generation(capacity)
    if (bytes + next.bits.byteLength > this.#maxBytes && this.#generations.length > 0) return newest
    this.#generations.unshift(next)
    return next
  }
}

function generation(capacity: number): Generation {
  const size = 2 ** Math.ceil(Math.log2(capacity * BITS))
  return { bits: new Uint32Array(size / 32), mask: size - 1, capacity: Math.floor(size / BITS), count: 0, latest: 0 }
}

/** Of 32 bits: rounds of multiplying, with what xxHash ends with, so that all bits depend on all characters. */
function hashOf(text: string, seed: number): number {
  let hash = seed | 0
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  return mixed(hash)
}

const stepOf = (hash: number): number => mixed(Math.imul(hash, 0x27d4eb2f) + 0x165667b1) | 1

function mixed(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae3d)
  return hash ^ (hash >>> 16)
}
