import { backoff, OUTAGE_MS, pause, retryOf } from './backoff.ts'
import { isRetryable } from './dead-letters.ts'
import {
  type Message,
  type Process,
  type Received,
  type Retry,
  type Topic,
  type Transaction,
  WeftError,
} from './transport.ts'

/** A transaction that a transport has open for one batch. */
export interface OpenTransaction extends Transaction {
  /** Appends a dead letter, which may be larger than other messages by what its headers say of it. */
  bury(topic: Topic, letter: Message): void
  /**
   * Makes appended messages, state and the batch's positions visible together; resolves when they are durable. FENCED if
   * another member has the partition; a retryable error if nothing of it happened and the batch may be taken again.
   */
  commit(): Promise<void>
  /** Forgets everything that was appended and set. */
  abort(): Promise<void> | void
}

/** A partition that a transport handed to a member: all that the policy of `transact` needs of it. */
export interface Source {
  readonly signal: AbortSignal
  /** What comes next and isn't consumed yet, in order; waits for it. Undefined once the signal aborted. */
  next(): Promise<readonly Received[] | undefined>
  /** Opens a transaction that consumes up to and with the last message of each topic in `batch`. */
  begin(batch: readonly Received[]): OpenTransaction | Promise<OpenTransaction>
}

export interface ProcessingOptions {
  readonly retry?: Retry | undefined
  /** The dead letter of a message, and where it goes. */
  readonly deadLetter: (message: Received, error: unknown, attempts: number) => { topic: Topic; letter: Message }
}

/**
 * The policy of `transact`, the same for every transport. A batch that throws is tried again with backoff; when it keeps
 * throwing it is halved until a message throws alone, and one that keeps throwing alone is a dead letter. What comes
 * before it is committed before it is tried, so the order stays.
 */
export async function processAll(source: Source, process: Process, options: ProcessingOptions): Promise<void> {
  const retry = retryOf(options.retry)
  for (let batch = await source.next(); batch; batch = await source.next()) await take(batch, retry.maxAttempts)

  async function take(batch: readonly Received[], maxAttempts: number): Promise<void> {
    if (source.signal.aborted || batch.length === 0) return
    const failure = await attempt(source, batch, process, { ...retry, maxAttempts })
    if (!failure || source.signal.aborted) return
    if (batch.length === 1) return bury(batch[0] as Received, failure)
    const middle = batch.length >> 1
    for (const half of [batch.slice(0, middle), batch.slice(middle)])
      await take(half, half.length === 1 ? retry.maxAttempts : 1)
  }

  async function bury(message: Received, { error, attempts }: Failure): Promise<void> {
    const { topic, letter } = options.deadLetter(message, error, attempts)
    const failure = await attempt(source, [message], (_, transaction) => transaction.bury(topic, letter), retry)
    if (failure) throw failure.error
  }
}

interface Failure {
  readonly error: unknown
  readonly attempts: number
}

/** Undefined when the batch was committed or the partition is given up; else what went wrong the last time. */
async function attempt(
  source: Source,
  batch: readonly Received[],
  process: (batch: readonly Received[], transaction: OpenTransaction) => Promise<void> | void,
  retry: Required<Retry>,
): Promise<Failure | undefined> {
  const { signal } = source
  let outages = 0
  for (let attempts = 1; !signal.aborted; ) {
    const transaction = await source.begin(batch)
    try {
      await process(batch, transaction)
    } catch (error) {
      await transaction.abort()
      if (signal.aborted) return undefined
      if (!isRetryable(error) || attempts >= retry.maxAttempts) return { error, attempts }
      await pause(backoff(attempts++, retry), signal)
      continue
    }
    try {
      await transaction.commit()
      return undefined
    } catch (error) {
      // What the log refuses for its size is its input's fault; any other commit that fails is the store's trouble.
      if (error instanceof WeftError && error.code === 'TOO_LARGE') return { error, attempts }
      if (!(error instanceof WeftError && error.retryable)) throw error
      await pause(backoff(++outages, { maxMs: OUTAGE_MS }), signal)
    }
  }
  return undefined
}
