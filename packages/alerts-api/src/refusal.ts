import { WeftError } from '@weft/transport'
import { FilterError } from './filter.ts'

/** Every fault that a client can meet: status, whether the same again can help, and what it means. Codes are stable. */
export const REFUSALS = {
  invalid_cursor: { status: 400, retryable: false, meaning: 'The cursor is none, or of another cluster.' },
  invalid_filter: { status: 400, retryable: false, meaning: 'A filter has a value that it cannot have.' },
  invalid_request: { status: 400, retryable: false, meaning: 'A parameter, or the request itself, is not right.' },
  credential_missing: { status: 401, retryable: false, meaning: 'No token came with the request.' },
  credential_invalid: { status: 401, retryable: false, meaning: 'What came as a token is none.' },
  token_malformed: { status: 401, retryable: false, meaning: 'The token is not a signed JWT.' },
  token_algorithm: {
    status: 401,
    retryable: false,
    meaning: 'The token was signed by an algorithm that is not accepted.',
  },
  token_signature: { status: 401, retryable: false, meaning: 'The token was not signed by a trusted key.' },
  token_expired: { status: 401, retryable: false, meaning: 'The token has expired.' },
  token_not_yet_valid: { status: 401, retryable: false, meaning: 'The token is not valid yet.' },
  token_claim: { status: 401, retryable: false, meaning: 'A claim of the token is missing or not as expected.' },
  scope_missing: { status: 403, retryable: false, meaning: 'The token has no scope "alerts:read".' },
  tenant_foreign: { status: 403, retryable: false, meaning: 'The token does not stand for the tenant asked for.' },
  origin_foreign: { status: 403, retryable: false, meaning: 'Pages of this origin may not open a WebSocket here.' },
  not_found: { status: 404, retryable: false, meaning: 'There is nothing at this path.' },
  upgrade_required: { status: 426, retryable: false, meaning: 'This path speaks WebSocket only.' },
  too_many_connections: {
    status: 429,
    retryable: true,
    meaning: 'The tenant has as many connections as it may; Retry-After tells when to try again.',
  },
  internal: { status: 500, retryable: true, meaning: 'A fault of ours.' },
  full: {
    status: 503,
    retryable: true,
    meaning: 'This process has as many connections as it takes; another may have room.',
  },
  keys_unavailable: {
    status: 503,
    retryable: true,
    meaning: 'The keys that verify tokens cannot be had at the moment.',
  },
  log_unavailable: { status: 503, retryable: true, meaning: 'The log cannot be read at the moment.' },
  shutting_down: {
    status: 503,
    retryable: true,
    meaning: 'This process is going away; another connection will find another.',
  },
} as const satisfies Record<string, { status: number; retryable: boolean; meaning: string }>

export type RefusalCode = keyof typeof REFUSALS

/** A fault told to the client. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RefusalCode
  /** Whole seconds for Retry-After. */
  readonly retryAfter: number | undefined

  constructor(code: RefusalCode, message: string, options: { retryAfter?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause })
    this.code = code
    this.retryAfter = options.retryAfter
  }

  get status(): number {
    return REFUSALS[this.code].status
  }

  get body(): { code: RefusalCode; message: string; retryable: boolean } {
    return { code: this.code, message: this.message, retryable: REFUSALS[this.code].retryable }
  }
}

/** What the client is told of whatever was thrown: nothing of what went on inside. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  if (error instanceof FilterError) return new Refusal('invalid_filter', error.message)
  if (error instanceof WeftError)
    return new Refusal('log_unavailable', 'the alerts cannot be read at the moment', { retryAfter: 2, cause: error })
  const status = (error as { statusCode?: unknown }).statusCode
  if (typeof status === 'number' && status < 500) return new Refusal('invalid_request', (error as Error).message)
  return new Refusal('internal', 'something went wrong here; it was logged', { cause: error })
}
