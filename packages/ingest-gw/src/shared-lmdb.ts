import { LmdbGate } from '@weft/transport'
import { type Database, open, type RootDatabase } from 'lmdb'
import { written } from './written.ts'

interface Waiting {
  run(): Promise<void>
  refuse(error: unknown): void
}

/**
 * An lmdb that several processes may use: it is opened and written through the store's gate, because an opening beside a
 * commit would take the commit back (see LmdbGate).
 */
export class SharedLmdb implements AsyncDisposable {
  readonly #root: RootDatabase
  readonly #databases: ReadonlyMap<string, Database>
  readonly #gate: LmdbGate
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined

  /** UNAVAILABLE if another process was stopped while it opened or wrote. */
  static async open(directory: string, names: readonly string[]): Promise<SharedLmdb> {
    const gate = new LmdbGate(directory)
    const { root, databases } = await gate.open(() => {
      // Batching by turns, its default, leaves a promise of lmdb's own that nobody can await when a commit fails.
      const root = open({ path: directory, maxDbs: 8, eventTurnBatching: false })
      return { root, databases: new Map(names.map(name => [name, root.openDB({ name })])) }
    })
    return new SharedLmdb(gate, root, databases)
  }

  private constructor(gate: LmdbGate, root: RootDatabase, databases: ReadonlyMap<string, Database>) {
    this.#gate = gate
    this.#root = root
    this.#databases = databases
  }

  /** One of those that were named. */
  database<V>(name: string): Database<V, string> {
    return this.#databases.get(name) as Database<V, string>
  }

  /** Runs what writes, and waits for it. What comes meanwhile is written together in the next round. */
  write<T>(work: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.#waiting.push({ run: () => work().then(resolve, reject), refuse: reject })
    this.#writing ??= this.#write()
    return promise
  }

  put<V>(database: Database<V, string>, key: string, value: V): Promise<boolean> {
    return this.write(() => written(database.put(key, value)))
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const round = this.#waiting
      this.#waiting = []
      try {
        await this.#gate.enter()
        await Promise.all(round.map(({ run }) => run()))
      } catch (error) {
        for (const { refuse } of round) refuse(error)
      }
    }
    this.#gate.leave()
    // In the same turn as the last look at what waits: whatever comes from now on begins a round itself.
    this.#writing = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing
    await this.#gate.close(() => this.#root.close())
  }
}
