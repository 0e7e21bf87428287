import { compact } from './compaction.ts'
import { KEY, logKey, offsetOf } from './keys.ts'
import type { Process } from './session.ts'
import type { Store } from './store.ts'
import type { TopicEntry } from './topics.ts'

/** What one round removed. */
export interface Maintenance {
  readonly records: number
  readonly bytes: number
}

const EVERY = 30_000
const LEASE = 10_000
/** So much is removed in one transaction at most: others wait for it. */
const STEP_BATCHES = 256

/**
 * Applies retention and compaction, in small transactions. One process of those that use the store does it at a time;
 * were it two, they would do no harm, each transaction looks for itself what is there.
 */
export class Janitor {
  readonly #store: Store
  readonly #timer: NodeJS.Timeout
  readonly #closing = new AbortController()
  #round: Promise<Maintenance> | undefined

  constructor(store: Store) {
    this.#store = store
    const round = () => void this.#exclusively(() => this.#maintain(false)).catch(() => {})
    this.#timer = setInterval(round, EVERY * (0.8 + Math.random() * 0.4)).unref()
  }

  /** A full round now, whoever else may be at it. */
  maintain(): Promise<Maintenance> {
    return this.#exclusively(() => this.#maintain(true))
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#closing.abort()
    await this.#round?.catch(() => {})
  }

  /** Rounds of one process follow each other. */
  async #exclusively(work: () => Promise<Maintenance>): Promise<Maintenance> {
    while (this.#round) await this.#round.catch(() => {})
    const round = work().finally(() => {
      if (this.#round === round) this.#round = undefined
    })
    this.#round = round
    return round
  }

  async #maintain(asked: boolean): Promise<Maintenance> {
    const total = { records: 0, bytes: 0 }
    if (!(await this.#lease(asked))) return total
    try {
      const topics = [...this.#store.entries<TopicEntry>(Buffer.from('t'), Buffer.from('u'))]
      for (const { value: entry } of topics)
        for (let partition = 0; partition < entry.spec.partitions; partition++) {
          if (this.#closing.signal.aborted) return total
          const removed =
            entry.spec.cleanup === 'compact'
              ? await compact(this.#store, entry.id, partition, asked, this.#closing.signal)
              : await this.#expire(entry, partition)
          total.records += removed.records
          total.bytes += removed.bytes
        }
      return total
    } finally {
      await this.#store.committer.commit(transaction => transaction.remove(KEY.janitor))
    }
  }

  /** False if another live process has it, unless it is `asked` for: then it is taken over. */
  async #lease(asked: boolean): Promise<boolean> {
    const { session } = this.#store
    session.beat(LEASE)
    return this.#store.committer.commit(transaction => {
      const holder = this.#store.json<Process>(KEY.janitor)
      if (holder && !asked && session.isLive(holder, LEASE)) return false
      transaction.putJson(KEY.janitor, session.process)
      return true
    })
  }

  async #expire({ id, spec }: TopicEntry, partition: number): Promise<Maintenance> {
    const total = { records: 0, bytes: 0 }
    const { retentionMs = Number.POSITIVE_INFINITY, retentionBytes = Number.POSITIVE_INFINITY } = spec
    if (retentionMs === Number.POSITIVE_INFINITY && retentionBytes === Number.POSITIVE_INFINITY) return total
    for (let more = true; more && !this.#closing.signal.aborted; ) {
      if (!this.#isDue(id, partition, retentionMs, retentionBytes)) break
      more = await this.#store.committer.commit(transaction => {
        const doomed = this.#doomed(id, partition, retentionMs, retentionBytes)
        if (doomed.length === 0) return false
        const bytes = doomed.reduce((sum, batch) => sum + batch.size, 0)
        for (const { base } of doomed) transaction.removeBatch(id, partition, base)
        transaction.shrink(id, partition, bytes, doomed.at(-1)?.next)
        total.records += doomed.reduce((sum, batch) => sum + batch.count, 0)
        total.bytes += bytes
        return doomed.length === STEP_BATCHES
      })
    }
    return total
  }

  #isDue(topic: number, partition: number, retentionMs: number, retentionBytes: number): boolean {
    return this.#doomed(topic, partition, retentionMs, retentionBytes, 1).length > 0
  }

  /** The oldest batches that are too old, or without which the partition still has its bytes. */
  #doomed(topic: number, partition: number, retentionMs: number, retentionBytes: number, limit = STEP_BATCHES) {
    const doomed: { base: number; next: number; size: number; count: number }[] = []
    let { bytes } = this.#store.ends(topic, partition)
    const oldest = Date.now() - retentionMs
    const range = { start: logKey(topic, partition, 0), end: logKey(topic, partition + 1, 0), limit }
    for (const { key, value } of this.#store.log.getRange(range)) {
      if (value.readDoubleLE(12) >= oldest && bytes - value.length < retentionBytes) break
      const base = offsetOf(key)
      doomed.push({ base, next: base + value.readUInt32LE(8), size: value.length, count: value.readUInt32LE(4) })
      bytes -= value.length
    }
    return doomed
  }
}
