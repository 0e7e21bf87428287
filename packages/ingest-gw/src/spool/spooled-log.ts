import { setTimeout as delay } from 'node:timers/promises'
import { type Message, type Position, type Topic, type Transport, WeftError } from '@weft/transport'
import { observe, refused as refusedTotal, replayed as replayedTotal, spooled as spooledTotal } from './metrics.ts'
import type { Batch } from './reader.ts'
import type { Spool, Written } from './spool.ts'

export interface SpooledLogOptions {
  readonly transport: Pick<Transport, 'append'>
  readonly topic: Topic
  readonly spool: Spool
  /** So long an append may take before its messages go into the spool. Default 3 s. */
  readonly patienceMs?: number
  /** Called when the log has taken something from the spool. */
  readonly onReplayed?: () => void
  readonly log?: {
    info(details: object, message: string): void
    warn(details: object, message: string): void
    error(details: object, message: string): void
  }
}

const REPLAY_BYTES = 1 << 20
const MIN_PAUSE_MS = 100
const MAX_PAUSE_MS = 5000
/** A replay that has no answer for so much longer than the patience is tried again; event ids tell the double. */
const REPLAY_PATIENCE = 10
/** The log takes messages, just not this one. */
const REFUSALS: ReadonlySet<string> = new Set(['INVALID', 'SCHEMA', 'TOO_LARGE'])

/**
 * Appends to the log, and to the spool while the log does not take it. As long as anything in the spool is not replayed,
 * everything goes behind it, so the order of keys is that of the calls. An append whose outcome is not known goes into the
 * spool as well: it may then be in the log twice, by the same event id.
 */
export class SpooledLog implements AsyncDisposable {
  readonly #transport: SpooledLogOptions['transport']
  readonly #topic: Topic
  readonly #spool: Spool
  readonly #patienceMs: number
  readonly #onReplayed: () => void
  readonly #log: SpooledLogOptions['log']
  readonly #stop = new AbortController()
  /** The last replay went through: the log is back. */
  #flowing = false
  #replaying: Promise<void> | undefined
  #progress = Promise.withResolvers<void>()
  /** An append that was given up waiting for, and the sequences that its messages then got. */
  #unanswered: (Written & { appended: Promise<unknown> }) | undefined
  /** Up to which sequence the log is known to have what a batch begins with. */
  #landed = 0
  #spoolFault: unknown
  readonly #observed: Disposable

  constructor({ transport, topic, spool, patienceMs = 3000, onReplayed = () => {}, log }: SpooledLogOptions) {
    this.#transport = transport
    this.#topic = topic
    this.#spool = spool
    this.#patienceMs = patienceMs
    this.#onReplayed = onReplayed
    this.#log = log
    this.#observed = observe(spool)
    if (!spool.isEmpty) this.#replay()
  }

  /** Red only while neither the log nor the spool takes anything. */
  probe(): { ok: boolean; detail?: string } | undefined {
    const { events, bytes, oldestAt } = this.#spool
    if (this.#spool.isEmpty) return undefined
    const age = oldestAt === undefined ? 0 : Math.round((Date.now() - oldestAt) / 1000)
    const detail = `spooling: ${events} events wait for the log in ${bytes} bytes, the oldest for ${age} s`
    if (!this.#spoolFault) return { ok: true, detail }
    return { ok: false, detail: `${detail}; the spool takes no more: ${(this.#spoolFault as Error).message}` }
  }

  /** Resolves to positions in the log, or to undefined: on disk here, to be in the log later. */
  async append(topic: Topic, messages: readonly Message[]): Promise<readonly Position[] | undefined> {
    if (!this.#spool.isEmpty && this.#flowing && this.#spool.backlog <= REPLAY_BYTES)
      // A steady stream would else keep the spool from ever being empty.
      await Promise.race([this.#emptied(), delay(this.#patienceMs, undefined, { ref: false })])
    if (!this.#spool.isEmpty) {
      await this.#keep(messages)
      return undefined
    }
    const appending = this.#transport.append(topic, messages)
    const outcome = await settled(appending, this.#patienceMs)
    if (outcome.status === 'fulfilled') return outcome.value
    if (outcome.status === 'rejected' && !isOutage(outcome.reason)) throw outcome.reason
    this.#log?.warn(
      { err: outcome.status === 'rejected' ? outcome.reason : undefined },
      outcome.status === 'rejected'
        ? 'the log takes no events: they are spooled'
        : 'the log is slow: events are spooled',
    )
    await this.#keep(messages, outcome.status === 'pending' ? appending : undefined)
    return undefined
  }

  async #keep(messages: readonly Message[], appended?: Promise<unknown>): Promise<void> {
    try {
      const written = await this.#spool.write(messages)
      if (appended) this.#unanswered = { ...written, appended }
      spooledTotal.inc(messages.length)
      this.#spoolFault = undefined
      this.#replay()
    } catch (error) {
      if (!this.#spoolFault) this.#log?.error({ err: error }, 'the spool takes no events: they are refused')
      this.#spoolFault = error
      throw error
    }
  }

  async #emptied(): Promise<void> {
    while (!this.#spool.isEmpty && this.#flowing) await this.#progress.promise
  }

  #replay(): void {
    this.#replaying ??= this.#replayAll().finally(() => {
      this.#replaying = undefined
      this.#moved(false)
      // Something may have come after the last look; what is being written asks for it itself.
      if (this.#spool.backlog > 0 && !this.#stop.signal.aborted) this.#replay()
    })
  }

  #moved(flowing: boolean): void {
    this.#flowing = flowing
    const { resolve } = this.#progress
    this.#progress = Promise.withResolvers()
    resolve()
  }

  async #replayAll(): Promise<void> {
    const { signal } = this.#stop
    const began = Date.now()
    let events = 0
    let pause = MIN_PAUSE_MS
    let batch: Batch | undefined
    while (!signal.aborted) {
      try {
        await this.#learnOutcome()
        batch ??= await this.#spool.next(REPLAY_BYTES)
        if (!batch) break
        await this.#append(batch)
        await this.#spool.done(batch.last, batch.messages.length)
        events += batch.messages.length
        replayedTotal.inc(batch.messages.length)
        batch = undefined
        pause = MIN_PAUSE_MS
        this.#moved(true)
        this.#onReplayed()
      } catch (error) {
        if (signal.aborted) break
        if (this.#flowing) this.#log?.warn({ err: error }, 'the log takes no events from the spool')
        this.#moved(false)
        await delay(pause * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined)
        pause = Math.min(MAX_PAUSE_MS, pause * 2)
      }
    }
    const seconds = Math.round((Date.now() - began) / 1000)
    if (events > 0) this.#log?.info({ events, seconds }, 'events were replayed from the spool')
  }

  /** An append without an answer may still get one: what it brought is then not appended again. */
  async #learnOutcome(): Promise<void> {
    const unanswered = this.#unanswered
    if (!unanswered) return
    const { appended, first, last } = unanswered
    const known = await settled(appended, this.#patienceMs * REPLAY_PATIENCE, this.#stop.signal)
    this.#unanswered = undefined
    if (known.status === 'fulfilled' && this.#spool.replayed + 1 === first) this.#landed = last
  }

  async #append({ messages, sequences }: Batch): Promise<void> {
    const from = sequences.findIndex(sequence => sequence > this.#landed)
    if (from < 0) return
    try {
      await this.#answered(messages.slice(from))
    } catch (error) {
      if (!isRefusal(error)) throw error
      // One of them is to blame, and the others are not to wait for it.
      for (const [index, message] of messages.entries())
        if (index >= from) await this.#appendAlone(message, sequences[index] as number)
    }
  }

  async #appendAlone(message: Message, sequence: number): Promise<void> {
    try {
      await this.#answered([message])
    } catch (error) {
      if (!isRefusal(error)) throw error
      const place = await this.#spool.setAside(message, sequence)
      refusedTotal.inc()
      this.#log?.error({ err: error, sequence, place }, 'the log refuses an event of the spool: it is set aside')
    }
    this.#landed = sequence
  }

  async #answered(messages: readonly Message[]): Promise<void> {
    const appending = this.#transport.append(this.#topic, messages)
    const outcome = await settled(appending, this.#patienceMs * REPLAY_PATIENCE, this.#stop.signal)
    if (outcome.status === 'rejected') throw outcome.reason
    if (outcome.status === 'pending') throw new WeftError('UNAVAILABLE', 'the log does not answer')
  }

  /** What is not replayed stays on disk for the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#moved(false)
    await this.#replaying
    const { events, bytes } = this.#spool
    if (events > 0) this.#log?.warn({ events, bytes }, 'events stay in the spool until the next start')
    this.#observed[Symbol.dispose]()
    await this.#spool[Symbol.asyncDispose]()
  }
}

const isOutage = (error: unknown): boolean => error instanceof WeftError && error.retryable
const isRefusal = (error: unknown): boolean => error instanceof WeftError && REFUSALS.has(error.code)

type Outcome<Value> = PromiseSettledResult<Value> | { readonly status: 'pending' }

/** How a promise ended, or that it has not after so long. */
async function settled<Value>(promise: Promise<Value>, ms: number, signal?: AbortSignal): Promise<Outcome<Value>> {
  const waiting = Promise.withResolvers<Outcome<Value>>()
  const timer = setTimeout(() => waiting.resolve({ status: 'pending' }), ms)
  const stop = () => waiting.resolve({ status: 'pending' })
  signal?.addEventListener('abort', stop, { once: true })
  promise.then(
    value => waiting.resolve({ status: 'fulfilled', value }),
    reason => waiting.resolve({ status: 'rejected', reason }),
  )
  try {
    return await waiting.promise
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
  }
}
