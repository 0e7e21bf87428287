import { setTimeout as pause } from 'node:timers/promises'
import type { Weft } from '../spawned.ts'

/** A service that is started again whenever it was killed. */
export class Supervised implements AsyncDisposable {
  readonly name: string
  kills = 0
  /** Where it listens; undefined while it is starting. */
  places: Readonly<Record<string, string>> | undefined
  /** All that its processes said on standard error. */
  said = ''
  readonly #start: () => Weft
  #process: Weft
  #ready: Promise<void>
  #isOver = false

  constructor(name: string, start: () => Weft) {
    this.name = name
    this.#start = start
    this.#process = start()
    this.#ready = this.#listen()
  }

  async #listen(): Promise<void> {
    const process = this.#process
    const found = await process.says(/^\{.*\}$/m).catch(error => {
      // A process that was killed before it was ready says nothing.
      if (process === this.#process && process.child.signalCode === null) throw error
    })
    if (found && process === this.#process) this.places = JSON.parse(found[0])
  }

  get ready(): Promise<void> {
    return this.#ready
  }

  /** Ends the process as a crash does and starts another. */
  async kill(): Promise<void> {
    this.kills++
    const killed = this.#process
    killed.child.kill('SIGKILL')
    await killed.ended
    this.said += killed.err
    if (this.#isOver) return
    this.places = undefined
    this.#process = this.#start()
    this.#ready = this.#listen()
    // Whoever awaits it hears of a failure; before that it is nobody's.
    this.#ready.catch(() => {})
  }

  /** Lets it sleep as a machine that swaps does: what it had in hand is others' when it wakes up. */
  async freeze(ms: number): Promise<void> {
    const { child } = this.#process
    child.kill('SIGSTOP')
    await pause(ms)
    child.kill('SIGCONT')
  }

  /** Asks it to end; resolves to its exit code. */
  async stop(): Promise<number | null> {
    this.#isOver = true
    this.#process.child.kill('SIGTERM')
    const { code, err } = await this.#process.ended
    this.said += err
    return code
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    await this.#process[Symbol.asyncDispose]()
  }
}
