import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises'
import {
  type From,
  type Message,
  type Position,
  type Received,
  type Topic,
  type Transport,
  WeftError,
} from '@weft/transport'

export interface LogTailOptions {
  readonly transport: Transport
  readonly topic: Topic
  /** Where to begin when the position to go on from is gone. */
  readonly otherwise: () => From
  /** Has noted the batch when it returns; what it may return is waited for before the next one. */
  readonly take: (batch: readonly Received[]) => Promise<void> | void
  readonly log: { warn(details: object, message: string): void } | undefined
  /** Ends it, also while it starts. */
  readonly signal: AbortSignal | undefined
}

/** Between reads, so that what many small appends brought is read at once. */
const GATHER_MS = 20

/** Follows a topic, through faults of the log as well, and knows how far it has come. */
export class LogTail implements AsyncDisposable {
  readonly #options: LogTailOptions
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #read: (Position | undefined)[] = []
  #fault: unknown
  #caughtUp = false
  #running: Promise<void> = Promise.resolve()
  #onRead: (() => void) | undefined

  constructor(options: LogTailOptions) {
    this.#options = options
    this.#signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal
  }

  /** Why the log cannot be read at the moment. */
  get fault(): unknown {
    return this.#fault
  }

  /** How far each partition was read and taken. */
  get positions(): readonly Position[] {
    return this.#read.filter(position => position !== undefined)
  }

  hasRead(position: Position): boolean {
    const read = this.#read[position.partition]
    return read !== undefined && this.#options.transport.compare(read, position) >= 0
  }

  /**
   * A message at the end of each partition. Only by meeting what it wrote itself can a reader know, on any transport,
   * that it has met all that was there before: the end that a broker tells may be a marker which is never delivered.
   */
  async mark(message: () => Message): Promise<Position[]> {
    const { transport, topic } = this.#options
    const { partitions } = await transport.admin.describe(topic)
    const marks: Position[] = []
    for (let partition = 0; partition < partitions; partition++)
      marks.push(...(await transport.append(topic, [message()], { partition })))
    return marks
  }

  /** Begins to follow, and resolves when all marks were met. Throws what reading fails with, if waiting cannot help. */
  async start(from: From, marks: readonly Position[]): Promise<void> {
    this.#running = this.#follow(from)
    while (marks.some(mark => !this.hasRead(mark))) {
      this.#signal.throwIfAborted()
      if (this.#fault && !(this.#fault instanceof WeftError && this.#fault.retryable)) throw this.#fault
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#onRead = resolve
      await promise
    }
    this.#caughtUp = true
  }

  async #follow(start: From): Promise<void> {
    const { transport, topic, take, log, otherwise } = this.#options
    const signal = this.#signal
    let from = start
    let pause = 50
    while (!signal.aborted) {
      try {
        for await (const batch of transport.read(topic, { from, signal, maxBytes: 1 << 20 })) {
          // An append of this process may be readable before its own answer was looked at, which tells more cheaply what
          // it was.
          await immediate()
          const taken = take(batch)
          for (const { position } of batch) this.#read[position.partition] = position
          await taken
          this.#fault = undefined
          pause = 50
          this.#onRead?.()
          if (this.#caughtUp) await delay(GATHER_MS, undefined, { signal })
        }
      } catch (error) {
        if (signal.aborted) break
        const gone = error instanceof WeftError && error.code === 'POSITION_GONE'
        log?.warn({ err: error }, gone ? 'the log no longer has what was read last' : 'reading the log failed')
        if (gone) this.#read.length = 0
        this.#fault = gone ? undefined : error
        this.#onRead?.()
        await delay(pause, undefined, { signal }).catch(() => undefined)
        pause = Math.min(5000, pause * 2)
      }
      const after = this.positions
      from = after.length > 0 ? { after } : otherwise()
    }
    this.#onRead?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
  }
}
