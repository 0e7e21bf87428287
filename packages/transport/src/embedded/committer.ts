import { ABORT } from 'lmdb'
import { WeftError } from '../transport.ts'
import type { Store, Write } from './store.ts'
import type { Changes } from './watch.ts'
import { type Work, WriteTransaction } from './write-transaction.ts'

interface Pending {
  readonly work: Work<unknown>
  readonly resolve: (result: never) => void
  readonly reject: (error: unknown) => void
}

type Outcome = { readonly result: unknown } | { readonly error: unknown }

/**
 * So often a transaction may be overtaken by other processes before it takes the lock first and then works: that holds up
 * the event loop for as long as another process has the lock.
 */
const OVERTAKEN = 5

/**
 * Group commit: everything that waits goes into one write transaction with one fsync; what arrives meanwhile forms the
 * next. Results are handed out only when the transaction is on disk.
 *
 * The works read a snapshot and say what to write. That is written off the event loop, on condition that the store is
 * still at the snapshot's version; if another process was faster, they work again. So the lock is never held while
 * anybody waits for this event loop: a process that is busy, or exits, holds up no other. Only who is overtaken again
 * and again does it all at once, under the lock.
 */
export class Committer {
  readonly #store: Store
  #pending: Pending[] = []
  #running: Promise<void> | undefined
  #closed = false

  constructor(store: Store) {
    this.#store = store
  }

  /** Resolves with what `work` returned once it is durable. UNAVAILABLE if the store can't take it. */
  commit<T>(work: Work<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new WeftError('CLOSED', 'the transport was closed'))
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ work, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }

  async #run(): Promise<void> {
    await undefined
    while (this.#pending.length > 0) {
      const batch = this.#pending
      this.#pending = []
      try {
        const { outcomes, changes } = await this.#transact(batch)
        batch.forEach(({ resolve, reject }, i) => {
          const outcome = outcomes[i] as Outcome
          if ('error' in outcome) reject(outcome.error)
          else resolve(outcome.result as never)
        })
        if (changes) this.#store.watch.committed(changes)
      } catch (cause) {
        const problem = `the store in "${this.#store.directory}" could not write: ${(cause as Error).message}`
        for (const { reject } of batch) reject(new WeftError('UNAVAILABLE', problem, { cause }))
      }
    }
    this.#store.gate.leave()
    this.#running = undefined
  }

  async #transact(batch: readonly Pending[]): Promise<Worked> {
    if (!this.#store.isSound()) await this.#reopen()
    await this.#store.gate.enter()
    for (let attempt = 0; attempt < OVERTAKEN; attempt++) {
      this.#store.root.resetReadTxn()
      const worked = this.#work(batch)
      if (!worked.changes || (await this.#store.write(worked.writes, worked.changes.version))) return worked
    }
    let worked: Worked | undefined
    this.#store.root.transactionSync(() => {
      worked = this.#work(batch)
      if (!worked.changes) return ABORT
      this.#store.writeNow(worked.writes, worked.changes.version)
    })
    return worked as unknown as Worked
  }

  /** Who opens must not be in the gate itself, or would wait for it. */
  async #reopen(): Promise<void> {
    this.#store.gate.leave()
    await this.#store.reopen()
  }

  #work(batch: readonly Pending[]): Worked {
    const version = this.#store.version()
    const transaction = new WriteTransaction(this.#store)
    const outcomes = batch.map(({ work }): Outcome => {
      try {
        return { result: transaction.run(work) }
      } catch (error) {
        // What a caller did wrong is its own affair; any other error spoils the transaction.
        if (error instanceof WeftError) return { error }
        throw error
      }
    })
    const { writes, keys } = transaction.finish()
    return { outcomes, writes, changes: writes.length > 0 ? { version: version + 1, keys } : undefined }
  }
}

interface Worked {
  readonly outcomes: readonly Outcome[]
  readonly writes: readonly Write[]
  readonly changes: Changes | undefined
}
