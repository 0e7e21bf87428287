import { compact, isDirty } from './compaction.ts'
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
const LEASEHOLDER = 'janitor'
/** So much is removed in one transaction at most: others wait for it. */
const STEP_BATCHES = 256

/**
 * Applies retention and compaction, in small transactions. One process of those that use the store does it at a time;
 * were it two, they would do no harm, each transaction looks for itself what is there.
 */
export class Janitor {
  /** So long compaction leaves a tombstone, in milliseconds. */
  tombstoneMs = 24 * 3_600_000
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
    const due = this.#due(asked)
    if (due.length === 0 || !(await this.#lease(asked))) return total
    try {
      this.#store.session.sweep()
      for (const { entry, partition } of due) {
        if (this.#closing.signal.aborted) break
        const removed =
          entry.spec.cleanup === 'compact'
            ? await compact(this.#store, entry.id, partition, this.tombstoneMs, this.#closing.signal)
            : await this.#expire(entry, partition)
        total.records += removed.records
        total.bytes += removed.bytes
      }
      return total
    } finally {
      await this.#store.committer.commit(transaction => transaction.remove(KEY.janitor))
      this.#store.session.leave(LEASEHOLDER)
    }
  }

  /** Looks without writing: a store where nothing is to do stays at rest. */
  #due(asked: boolean): { entry: TopicEntry; partition: number }[] {
    return [...this.#store.entries<TopicEntry>(Buffer.from('t'), Buffer.from('u'))].flatMap(({ value: entry }) =>
      Array.from({ length: entry.spec.partitions }, (_, partition) => ({ entry, partition })).filter(({ partition }) =>
        entry.spec.cleanup === 'compact'
          ? isDirty(this.#store, entry.id, partition, this.tombstoneMs, asked)
          : this.#doomed(entry, partition, 1).length > 0,
      ),
    )
  }

  /** False if another live process has it, unless it is `asked` for: then it is taken over. */
  async #lease(asked: boolean): Promise<boolean> {
    const { session } = this.#store
    session.enter(LEASEHOLDER, LEASE)
    return this.#store.committer.commit(transaction => {
      const holder = this.#store.json<Process>(KEY.janitor)
      if (holder && !asked && session.isLive(LEASEHOLDER, holder, LEASE)) return false
      transaction.putJson(KEY.janitor, session.process)
      return true
    })
  }

  async #expire(entry: TopicEntry, partition: number): Promise<Maintenance> {
    const total = { records: 0, bytes: 0 }
    for (let more = true; more && !this.#closing.signal.aborted; )
      more = await this.#store.committer.commit(transaction => {
        const doomed = this.#doomed(entry, partition, STEP_BATCHES)
        if (doomed.length === 0) return false
        const bytes = doomed.reduce((sum, batch) => sum + batch.size, 0)
        for (const { base } of doomed) transaction.removeBatch(entry.id, partition, base)
        transaction.shrink(entry.id, partition, bytes, doomed.at(-1)?.next)
        total.records += doomed.reduce((sum, batch) => sum + batch.count, 0)
        total.bytes += bytes
        return doomed.length === STEP_BATCHES
      })
    return total
  }

  /** The oldest batches that are too old, or without which the partition still has its bytes. */
  #doomed({ id, spec }: TopicEntry, partition: number, limit: number) {
    const { retentionMs = Number.POSITIVE_INFINITY, retentionBytes = Number.POSITIVE_INFINITY } = spec
    const doomed: { base: number; next: number; size: number; count: number }[] = []
    if (retentionMs === Number.POSITIVE_INFINITY && retentionBytes === Number.POSITIVE_INFINITY) return doomed
    let { bytes } = this.#store.ends(id, partition)
    const oldest = Date.now() - retentionMs
    const range = { start: logKey(id, partition, 0), end: logKey(id, partition + 1, 0), limit }
    for (const { key, value } of this.#store.log.getRange(range)) {
      if (value.readDoubleLE(12) >= oldest && bytes - value.length < retentionBytes) break
      const base = offsetOf(key)
      doomed.push({ base, next: base + value.readUInt32LE(8), size: value.length, count: value.readUInt32LE(4) })
      bytes -= value.length
    }
    return doomed
  }
}
