import { SERVER_ERRORS, type ServerError } from './commands.ts'

/** What the broker said, or what happened on the way: no connection, no answer, the client closed. */
export type PulsarCode = ServerError | 'ConnectionLost' | 'TimedOut' | 'Closed' | 'Malformed' | 'TooLarge' | 'QueueFull'

/** Passes by itself: the same again, perhaps after a new lookup, can succeed. */
const PASSING: ReadonlySet<PulsarCode> = new Set<PulsarCode>([
  'ConnectionLost',
  'TimedOut',
  'ServiceNotReady',
  'MetadataError',
  'PersistenceError',
  'TooManyRequests',
  'ProducerBusy',
  'ConsumerBusy',
  'ConsumerAssignError',
  'TransactionCoordinatorNotFound',
  'UnknownError',
  'QueueFull',
])

export class PulsarError extends Error {
  override readonly name = 'PulsarError'
  readonly code: PulsarCode
  readonly retryable: boolean

  constructor(code: PulsarCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.code = code
    this.retryable = PASSING.has(code)
  }

  /** Of an answer's error number and text. */
  static of(number: number | undefined, text: string | undefined, doing: string): PulsarError {
    const code = SERVER_ERRORS[number ?? 0] ?? 'UnknownError'
    return new PulsarError(code, `${doing}: ${code}${text ? ` (${text})` : ''}`)
  }
}
