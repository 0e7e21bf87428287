import { setMaxListeners } from 'node:events'
import { AckWindow } from './ack-window.ts'
import { backoff, OUTAGE_MS, pause, retryOf } from './backoff.ts'
import { isRetryable } from './dead-letters.ts'
import { type Handle, type Position, type Received, type Retry, type SubscribeOptions, WeftError } from './transport.ts'

/** A partition that a transport handed to a member: all that the policy of `subscribe` needs of it. */
export interface Feed {
  /** Aborts when the partition is to be given up. */
  readonly signal: AbortSignal
  /** What comes next, in order; waits for it. Undefined once the signal aborted. */
  next(): Promise<readonly Received[] | undefined>
  /** Everything up to here is settled. Throws FENCED if another member has the partition. */
  commit(position: Position): Promise<void>
}

export interface SubscriptionOptions {
  readonly mode: NonNullable<SubscribeOptions['mode']>
  readonly maxUnacked: number
  readonly retry?: Retry | undefined
  /** Resolves when the dead letter is durable. */
  readonly deadLetter: (message: Received, error: unknown, attempts: number) => Promise<void>
}

/** How far messages may be settled ahead of the oldest one that is not: what is read again after a crash, at most. */
const WINDOW = 65_536

/** So long a position waits for others to come, before it is committed. */
const COMMIT_MS = 10

/** How many messages may wait behind keys that are held back, so that others find theirs: only while places are free. */
const LOOK_AHEAD = 10_000

/** The policy of `subscribe`, the same for every transport: order per key, retries, dead letters, the bound on unacked. */
export class Subscription {
  readonly #options: SubscriptionOptions
  readonly #handle: Handle
  readonly #retry: Required<Retry>
  readonly #slots: Slots

  constructor(options: SubscriptionOptions, handle: Handle) {
    this.#options = options
    this.#handle = handle
    this.#retry = retryOf(options.retry)
    this.#slots = new Slots(options.maxUnacked)
  }

  /** Works on a partition until its signal aborts; then waits for what is in flight, and commits what is settled. */
  async serve(feed: Feed): Promise<void> {
    const stop = new AbortController()
    const signal = AbortSignal.any([feed.signal, stop.signal])
    // As many handlers listen to it as there are messages in hand: Node would take that for a leak.
    setMaxListeners(0, signal)
    const partition = new Partition(feed, signal, () => stop.abort())
    const unwatch = this.#slots.watch(() => partition.wake())
    try {
      await this.#read(endable(feed, stop.signal), partition, signal)
    } catch (error) {
      // Whoever begins again from here must find nothing in flight.
      partition.failed(error)
    }
    await partition.finish().finally(unwatch)
  }

  async #read(next: Feed['next'], partition: Partition, signal: AbortSignal): Promise<void> {
    const lanes = new Map<string, Received[]>()
    for (let messages = await next(); messages && !signal.aborted; messages = await next()) {
      for (const message of messages) {
        await partition.room(() => (this.#slots.free > 0 ? LOOK_AHEAD : this.#options.maxUnacked))
        if (signal.aborted) break
        const settle = partition.add(message.position)
        const lane = this.#laneOf(message)
        const waiting = lane === undefined ? undefined : lanes.get(lane)
        if (waiting) {
          waiting.push(message)
          partition.settlers.set(message, settle)
        } else {
          if (lane !== undefined) lanes.set(lane, [])
          partition.settlers.set(message, settle)
          if (!(await this.#slots.take(signal))) break
          partition.run(this.#drain(message, lane, lanes, partition, signal))
        }
      }
    }
  }

  /** Messages of one lane are handled one after the other. */
  #laneOf({ key }: Received): string | undefined {
    if (key === undefined || this.#options.mode === 'shared') return undefined
    return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
  }

  async #drain(
    first: Received,
    lane: string | undefined,
    lanes: Map<string, Received[]>,
    partition: Partition,
    signal: AbortSignal,
  ): Promise<void> {
    let message: Received | undefined = first
    while (message) {
      const settled = await this.#settle(message, signal).finally(() => this.#slots.give())
      if (!settled) return
      partition.settled(message)
      message = lane === undefined ? undefined : lanes.get(lane)?.shift()
      if (!message) break
      if (!(await this.#slots.take(signal))) return
    }
    if (lane !== undefined) lanes.delete(lane)
  }

  /** True once the message was handled or is a dead letter; false if the partition is given up before. */
  async #settle(message: Received, signal: AbortSignal): Promise<boolean> {
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.#handle(message, { attempt, signal })
        return true
      } catch (error) {
        if (signal.aborted) return false
        if (!isRetryable(error) || attempt >= this.#retry.maxAttempts)
          return this.#bury(message, error, attempt, signal)
      }
      await pause(backoff(attempt, this.#retry), signal)
    }
    return false
  }

  async #bury(message: Received, cause: unknown, attempts: number, signal: AbortSignal): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#options.deadLetter(message, cause, attempts)
        return true
      } catch (error) {
        if (error instanceof WeftError && !error.retryable) throw error
        if (!(await pause(backoff(attempt, { maxMs: OUTAGE_MS }), signal))) return false
      }
    }
  }
}

/** The feed's `next`, which also ends when the signal aborts. (Racing would leave something behind at every call.) */
function endable(feed: Feed, signal: AbortSignal): Feed['next'] {
  let end: (() => void) | undefined
  signal.addEventListener('abort', () => end?.(), { once: true })
  return () =>
    new Promise((resolve, reject) => {
      end = () => resolve(undefined)
      if (signal.aborted) end()
      else feed.next().then(resolve, reject)
    })
}

/** What is under way in one partition, and the commits that follow it. */
class Partition {
  readonly settlers = new Map<Received, () => boolean>()
  readonly #feed: Feed
  readonly #signal: AbortSignal
  readonly #stop: () => void
  readonly #window = new AckWindow<Position | undefined>(undefined)
  readonly #running = new Set<Promise<void>>()
  #committing: Promise<void> | undefined
  #failure: unknown
  #wakeReader: (() => void) | undefined

  constructor(feed: Feed, signal: AbortSignal, stop: () => void) {
    this.#feed = feed
    this.#signal = signal
    this.#stop = stop
    signal.addEventListener('abort', () => this.wake())
  }

  wake(): void {
    this.#wakeReader?.()
  }

  add(position: Position): () => boolean {
    return this.#window.add(position)
  }

  /** Waits while too many messages wait behind their keys, or the oldest unsettled one lies too far back. */
  async room(most: () => number): Promise<void> {
    while (!this.#signal.aborted && (this.settlers.size >= most() || this.#window.size >= WINDOW))
      await new Promise<void>(resolve => {
        this.#wakeReader = resolve
      })
  }

  run(work: Promise<void>): void {
    const running = work
      .catch(error => this.failed(error))
      .finally(() => {
        this.#running.delete(running)
      })
    this.#running.add(running)
  }

  settled(message: Received): void {
    const moved = this.settlers.get(message)?.()
    this.settlers.delete(message)
    this.wake()
    if (moved) this.#committing ??= this.#commit()
  }

  async #commit(): Promise<void> {
    await pause(COMMIT_MS, this.#signal)
    let committed: Position | undefined
    for (let attempt = 0; this.#window.low && committed !== this.#window.low; ) {
      const low = this.#window.low
      try {
        await this.#feed.commit(low)
        committed = low
        attempt = 0
      } catch (error) {
        if (!(error instanceof WeftError && error.retryable)) {
          this.failed(error)
          break
        }
        if (!(await pause(backoff(++attempt, { maxMs: OUTAGE_MS }), this.#signal))) break
      }
    }
    this.#committing = undefined
  }

  /** Ends all that is under way here; the first error is what `finish` throws. */
  failed(error: unknown): void {
    this.#failure ??= error
    this.#stop()
  }

  async finish(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    await this.#committing
    if (this.#failure) throw this.#failure
  }
}

/** A number of places; whoever wants one waits in line. */
class Slots {
  #free: number
  readonly #line: (() => void)[] = []
  readonly #watching = new Set<() => void>()

  constructor(count: number) {
    this.#free = count
  }

  get free(): number {
    return this.#free
  }

  /** Calls back when a place got free that nobody waited for. */
  watch(listener: () => void): () => void {
    this.#watching.add(listener)
    return () => this.#watching.delete(listener)
  }

  /** True with a place taken; false, and without one, if the signal aborts before. */
  async take(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false
    if (this.#free > 0) {
      this.#free--
      return true
    }
    return new Promise<boolean>(resolve => {
      const taken = () => {
        signal.removeEventListener('abort', aborted)
        resolve(true)
      }
      const aborted = () => {
        this.#line.splice(this.#line.indexOf(taken), 1)
        resolve(false)
      }
      this.#line.push(taken)
      signal.addEventListener('abort', aborted, { once: true })
    })
  }

  give(): void {
    const next = this.#line.shift()
    if (next) next()
    else {
      this.#free++
      for (const listener of this.#watching) listener()
    }
  }
}
