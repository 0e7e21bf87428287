/** Every fault that a client can meet: status, whether the same again can help, and what it means. Codes are stable. */
export const PROBLEMS = {
  malformed_json: {
    status: 400,
    retryable: false,
    meaning: 'The body, or a line of it, is not JSON; the message has the position.',
  },
  invalid_utf8: { status: 400, retryable: false, meaning: 'The body is not UTF-8.' },
  corrupt_encoding: { status: 400, retryable: false, meaning: 'The compressed body is cut short or damaged.' },
  empty_body: { status: 400, retryable: false, meaning: 'There is no body.' },
  empty_batch: { status: 400, retryable: false, meaning: 'The array, or the NDJSON, holds no event.' },
  invalid_header: { status: 400, retryable: false, meaning: 'A header has a value that it cannot have.' },
  invalid_request: {
    status: 400,
    retryable: false,
    meaning: 'The request itself is not right, such as its URL or Content-Length.',
  },
  credential_missing: { status: 401, retryable: false, meaning: 'No write key and no JWT came with the request.' },
  credential_invalid: {
    status: 401,
    retryable: false,
    meaning: 'The write key is not known, or the Authorization header is no bearer token.',
  },
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
  scope_missing: { status: 403, retryable: false, meaning: 'The credential may not send events.' },
  tenant_foreign: {
    status: 403,
    retryable: false,
    meaning: 'store_id names a tenant that the credential does not stand for.',
  },
  reserved_type: {
    status: 403,
    retryable: false,
    meaning: 'Event types that begin with "weft." are made by Weft alone.',
  },
  not_found: { status: 404, retryable: false, meaning: 'There is nothing at this path.' },
  method_not_allowed: {
    status: 405,
    retryable: false,
    meaning: 'The path does not take this method; Allow tells which it takes.',
  },
  request_timeout: { status: 408, retryable: true, meaning: 'The request did not arrive within the time allowed.' },
  event_id_reused: {
    status: 409,
    retryable: false,
    meaning: 'The batch has this event_id twice with different contents; the first was taken.',
  },
  idempotency_key_in_flight: {
    status: 409,
    retryable: true,
    meaning: 'A request with this Idempotency-Key is still being worked on.',
  },
  body_too_large: {
    status: 413,
    retryable: false,
    meaning: 'The body is over the limit, as sent or once decompressed.',
  },
  event_too_large: { status: 413, retryable: false, meaning: 'The event is over the limit.' },
  too_many_events: { status: 413, retryable: false, meaning: 'The batch has more events than one request may.' },
  unsupported_media_type: {
    status: 415,
    retryable: false,
    meaning: 'Content-Type must be application/json or application/x-ndjson, in UTF-8.',
  },
  unsupported_encoding: {
    status: 415,
    retryable: false,
    meaning: 'Content-Encoding must be one of gzip, br, zstd or identity.',
  },
  not_an_object: { status: 422, retryable: false, meaning: 'An event must be a JSON object.' },
  missing_field: { status: 422, retryable: false, meaning: 'A field that every event needs is missing.' },
  unknown_field: {
    status: 422,
    retryable: false,
    meaning: 'An event has no such field; what is your own goes into payload.',
  },
  wrong_type: { status: 422, retryable: false, meaning: 'A field has a value of the wrong type.' },
  invalid_value: { status: 422, retryable: false, meaning: 'A field has a value that it cannot have.' },
  invalid_text: { status: 422, retryable: false, meaning: 'A text holds NUL or half of a surrogate pair.' },
  invalid_time: {
    status: 422,
    retryable: false,
    meaning: 'sent_at is neither ISO 8601 with an offset nor milliseconds since the epoch.',
  },
  clock_skew: { status: 422, retryable: false, meaning: 'sent_at is too far from the clock here.' },
  unknown_type: { status: 422, retryable: false, meaning: 'The event type is not known.' },
  forbidden_key: { status: 422, retryable: false, meaning: 'A key named "__proto__" is not taken.' },
  too_deep: { status: 422, retryable: false, meaning: 'The payload is nested too deeply.' },
  number_out_of_range: {
    status: 422,
    retryable: false,
    meaning: 'A number cannot be held without loss; send it as a string.',
  },
  idempotency_key_reused: {
    status: 422,
    retryable: false,
    meaning: 'This Idempotency-Key was used with another body.',
  },
  rate_limited: {
    status: 429,
    retryable: true,
    meaning: 'More events a second than the tenant may send; Retry-After tells when.',
  },
  overloaded: {
    status: 429,
    retryable: true,
    meaning: 'Too many bytes are in flight; Retry-After follows from how fast they drain.',
  },
  headers_too_large: { status: 431, retryable: false, meaning: 'The request headers are too large.' },
  internal: {
    status: 500,
    retryable: true,
    meaning: 'A fault of ours. Nothing is known to be stored; send it again with the same event_id.',
  },
  keys_unavailable: {
    status: 503,
    retryable: true,
    meaning: 'The keys that verify tokens cannot be had at the moment.',
  },
  log_unavailable: {
    status: 503,
    retryable: true,
    meaning: 'The log cannot take events at the moment; Retry-After tells when to try again.',
  },
  shutting_down: {
    status: 503,
    retryable: true,
    meaning: 'This process is going away; another connection will find another.',
  },
} as const satisfies Record<string, { status: number; retryable: boolean; meaning: string }>

export type ProblemCode = keyof typeof PROBLEMS

/** As clients get it. `path` is a JSON pointer (RFC 6901) into the event. */
export interface ProblemBody {
  readonly code: ProblemCode
  readonly message: string
  readonly path?: string
  readonly retryable: boolean
}

/** A fault told to the client. Returned for an event of several, thrown for a whole request. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: ProblemCode
  readonly path: string | undefined
  /** Whole seconds for Retry-After. */
  readonly retryAfter: number | undefined
  constructor(
    code: ProblemCode,
    message: string,
    options: { path?: string; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause })
    this.code = code
    this.path = options.path
    this.retryAfter = options.retryAfter
  }
  get status(): number {
    return PROBLEMS[this.code].status
  }
  get body(): ProblemBody {
    const { code, message, path } = this
    const { retryable } = PROBLEMS[code]
    return path === undefined ? { code, message, retryable } : { code, message, path, retryable }
  }
}

/** A problem with one place of an event. */
export const problemAt = (code: ProblemCode, path: string, message: string): Problem =>
  new Problem(code, message, { path })
