import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises'
import { Counter, Gauge, registry } from '@weft/telemetry'
import { Redis } from 'ioredis'
import { BEGIN_KEY, CLAIM, END_KEY, SETTLE } from './scripts.ts'

export interface SharedSettings {
  /** redis://… or rediss://…, with user and password if it wants them. */
  readonly url: string
  /** So long Redis may take for an answer before this gateway goes on without it. Default 250 ms. */
  readonly timeoutMs?: number
  /** So long an id stays reserved for a gateway that has not told how its append ended. Default 30 s. */
  readonly leaseMs?: number
}

type Log = { info(details: object, message: string): void; warn(details: object, message: string): void }

/** The scripts as ioredis defines them. */
interface Commands {
  weftClaim(keys: number, ...args: (string | number)[]): Promise<number[]>
  weftSettle(keys: number, ...args: (string | number)[]): Promise<number>
  weftBeginKey(keys: number, ...args: (string | number)[]): Promise<[number, string?]>
  weftEndKey(keys: number, ...args: (string | number)[]): Promise<number>
}

const up = new Gauge({
  name: 'weft_ingest_redis_up',
  help: 'Whether ids are shared with other gateways through Redis at the moment.',
  registers: [registry],
})
const failures = new Counter({
  name: 'weft_ingest_redis_failures_total',
  help: 'Calls to Redis that had no answer in time or failed: the gateway went on without.',
  registers: [registry],
})

/**
 * Redis, as long as it answers. A call without an answer in time ends the connection, and until a new one is ready
 * nobody waits for Redis at all: what it would have known is known from the log, later.
 */
export class SharedConnection implements AsyncDisposable {
  readonly #redis: Redis & Commands
  readonly #log: Log | undefined
  readonly #timeoutMs: number
  #up = false
  /** Was told. */
  #away = false

  constructor({ url, timeoutMs = 250 }: SharedSettings, log?: Log) {
    this.#log = log
    this.#timeoutMs = timeoutMs
    this.#redis = new Redis(url, {
      connectTimeout: 2000,
      // Of a connection that was taken and then never answers: a machine that is gone, a process that is stopped.
      socketTimeout: 5000,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: times => Math.min(1000, 50 * 2 ** times),
      scripts: {
        weftClaim: { lua: CLAIM },
        weftSettle: { lua: SETTLE },
        weftBeginKey: { lua: BEGIN_KEY },
        weftEndKey: { lua: END_KEY },
      },
    }) as Redis & Commands
    this.#redis.on('error', error => this.#lost(error))
    this.#redis.on('close', () => this.#lost(undefined))
    this.#redis.on('ready', () => {
      up.set(1)
      this.#up = true
      if (this.#away) this.#log?.info({}, 'Redis answers again: event ids are shared')
      this.#away = false
    })
  }

  get isUp(): boolean {
    return this.#up
  }

  /** Resolves when Redis is there, or after so long. */
  async ready(ms: number): Promise<void> {
    if (this.isUp) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#redis.once('ready', resolve)
    await promise
    clearTimeout(timer)
    this.#redis.off('ready', resolve)
  }

  /** What Redis answers; undefined, at once or after the time-out, when it does not. */
  async call<Result>(ask: (redis: Redis & Commands) => Promise<Result>): Promise<Result | undefined> {
    if (!this.isUp) return undefined
    try {
      return await inTime(ask(this.#redis), this.#timeoutMs)
    } catch (error) {
      failures.inc()
      // What waits behind it in the connection would time out one by one. Ended politely it would wait for the other side.
      if (this.isUp) this.#redis.stream.destroy()
      this.#lost(error)
      return undefined
    }
  }

  #lost(error: unknown): void {
    up.set(0)
    this.#up = false
    if (this.#away) return
    this.#away = true
    this.#log?.warn({ err: error }, 'Redis does not answer: event ids are known from the log alone')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#away = true
    this.#redis.disconnect()
  }
}

/** Rejects after so long; not before what has arrived meanwhile was read, or a busy process would blame Redis. */
async function inTime<Result>(answer: Promise<Result>, ms: number): Promise<Result> {
  const over = new AbortController()
  const late = async (): Promise<never> => {
    await delay(ms, undefined, { signal: over.signal })
    await immediate()
    await immediate()
    throw new Error(`no answer within ${ms} ms`)
  }
  try {
    return await Promise.race([answer, late()])
  } finally {
    over.abort()
  }
}
