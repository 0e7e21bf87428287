import { eventTypes } from '@weft/schema'
import { PROBLEMS, type ProblemCode } from './problem.ts'

export interface OpenApiLimits {
  readonly maxBodyBytes: number
  readonly maxDecodedBytes: number
  readonly maxEvents: number
  readonly maxEventBytes: number
}

/** An OpenAPI 3.1 document, as an object ready for JSON. */
export type OpenApi = { readonly openapi: string; readonly [field: string]: unknown }

type Schema = Readonly<Record<string, unknown>>

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })
const codesOf = (status: number) =>
  (Object.keys(PROBLEMS) as ProblemCode[]).filter(code => PROBLEMS[code].status === status)

/** What `POST /v1/events` takes and answers; the tests hold real answers to it. */
export function openApi(limits: OpenApiLimits): OpenApi {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Weft ingest',
      version: '1',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'Takes tracker events into a durable, ordered log. An event is answered with 202 only when the log has it on disk, or, told by `spooled`, the gateway while the log is away.\n\n' +
        'Every fault has a stable `code`, a message for people, and `retryable`: whether sending the same again can help.',
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { writeKey: [] }],
    paths: {
      '/v1/events': { post: postEvents(limits) },
    },
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A write key, or a JWT with the scope `ingest`.' },
        writeKey: { type: 'apiKey', in: 'header', name: 'X-Write-Key', description: 'A write key.' },
      },
      schemas: schemas(limits),
      headers: {
        Traceparent: { ...TRACEPARENT, required: true },
        TraceparentOfFault: { ...TRACEPARENT, description: `${TRACEPARENT.description} Not in faults of HTTP itself.` },
        RetryAfter: {
          description: "Seconds after which it can work: from the tenant's rate, or from how fast the log drains.",
          required: true,
          schema: { type: 'integer', minimum: 1, maximum: 60 },
        },
        RetryAfterInFlight: {
          description: 'Seconds after which the first request may be answered; only with `idempotency_key_in_flight`.',
          schema: { type: 'integer', minimum: 1, maximum: 60 },
        },
        IdempotencyReplayed: {
          description: 'This is the answer that the first request with this Idempotency-Key got.',
          schema: { const: 'true' },
        },
      },
    },
  }
}

const TRACEPARENT = {
  description: 'W3C trace context: that of the request, or one made here. The events carry it to their alerts.',
  schema: { type: 'string', pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' },
}

function postEvents({ maxBodyBytes, maxDecodedBytes, maxEvents, maxEventBytes }: OpenApiLimits): Schema {
  return {
    operationId: 'postEvents',
    summary: 'Send one event or many',
    description: [
      'One event as a JSON object, several as an array or, a line each, as NDJSON.',
      '',
      '- **One event**: 202 when it is stored, 200 when its `event_id` was stored within the last 24 hours, else the status of its fault.',
      '- **Several**: each has its own result, in the order sent. 202 when all are stored or duplicates, 207 when any was rejected; those that were not are stored.',
      '- A fault of the whole request (credential, encoding, limits, the log) rejects all of it, and nothing is stored. Only after 500 and 503 may some events be in the log: send the same `event_id` again and they are told as duplicates.',
      '',
      `Limits: ${maxBodyBytes} bytes as sent, ${maxDecodedBytes} decompressed, ${maxEvents} events, ${maxEventBytes} bytes an event once encoded.`,
      '',
      'Here the envelope and the types of the known payload fields are checked. Required payload fields and bounds (schemas `Payload_…`) are checked behind the log; what fails there is kept among the dead letters to be repaired.',
    ].join('\n'),
    parameters: [
      {
        name: 'Idempotency-Key',
        in: 'header',
        description:
          'The same key and body get the same answer for 24 hours. Another body is 422, a request still being worked on 409. Events without an event_id get one that follows from the key.',
        schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[!-~]{1,255}$' },
      },
      {
        name: 'Content-Encoding',
        in: 'header',
        schema: { type: 'string', enum: ['gzip', 'br', 'zstd', 'identity'] },
      },
      {
        name: 'traceparent',
        in: 'header',
        description: 'W3C trace context; one that is not valid is ignored.',
        schema: { type: 'string' },
      },
    ],
    requestBody: {
      required: true,
      content: {
        'application/json': {
          schema: { oneOf: [ref('Event'), { type: 'array', items: ref('Event'), minItems: 1, maxItems: maxEvents }] },
          examples: {
            one: { summary: 'A page view', value: EXAMPLE },
            several: { summary: 'A visit that begins', value: [START, EXAMPLE] },
          },
        },
        'application/x-ndjson': {
          schema: { type: 'string', description: 'A JSON object a line. Lines without content are skipped.' },
          example: `${JSON.stringify(START)}\n${JSON.stringify(EXAMPLE)}\n`,
        },
      },
    },
    responses: {
      200: answer('The event was stored before.', ref('Duplicate'), ['IdempotencyReplayed']),
      202: answer('Stored durably.', { oneOf: [ref('Accepted'), ref('BatchStored')] }, ['IdempotencyReplayed']),
      207: answer('Some events were rejected, the others are stored.', ref('BatchMixed'), ['IdempotencyReplayed']),
      ...Object.fromEntries(
        [400, 401, 403, 405, 408, 409, 413, 415, 422, 429, 431, 500, 503].map(status => [status, problem(status)]),
      ),
    },
  }
}

const EXAMPLE = {
  event_id: '0198c5a4-7d0e-7c3a-9b1e-3f1d2c4b5a69',
  type: 'page_view',
  session_id: 's-42',
  payload: { elapsed_ms: 1200, page: 'product', product_id: 'teapot' },
}
const START = {
  event_id: '0198c5a4-7850-7b1c-8d2f-6a7b8c9d0e1f',
  type: 'session_start',
  session_id: 's-42',
  payload: { elapsed_ms: 0, visitor: 'new' },
}

function answer(description: string, schema: Schema, headers: readonly string[] = []): Schema {
  return {
    description,
    headers: {
      traceparent: { $ref: '#/components/headers/Traceparent' },
      ...(headers.includes('IdempotencyReplayed') && {
        'Idempotency-Replayed': { $ref: '#/components/headers/IdempotencyReplayed' },
      }),
    },
    content: { 'application/json': { schema } },
  }
}

function problem(status: number): Schema {
  const codes = codesOf(status)
  const retry = status === 429 || status === 503
  return {
    description: codes.map(code => `\`${code}\`: ${PROBLEMS[code].meaning}`).join('\n\n'),
    headers: {
      traceparent: { $ref: '#/components/headers/TraceparentOfFault' },
      ...(retry && { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } }),
      ...(status === 409 && { 'Retry-After': { $ref: '#/components/headers/RetryAfterInFlight' } }),
    },
    content: {
      'application/json': {
        schema: {
          type: 'object',
          required: ['error'],
          properties: { error: { allOf: [ref('Problem'), { properties: { code: { enum: codes } } }] } },
          additionalProperties: false,
        },
      },
    },
  }
}

function schemas({ maxEvents }: OpenApiLimits): Record<string, Schema> {
  const id = { type: 'string', minLength: 1, maxLength: 128 }
  const result = (properties: Schema, required: string[]): Schema => ({
    type: 'object',
    required,
    properties,
    additionalProperties: false,
  })
  const accepted = result(
    {
      event_id: id,
      status: { const: 'accepted' },
      spooled: { const: true, description: 'Kept durably by the gateway until the log, which is away, takes it.' },
    },
    ['event_id', 'status'],
  )
  const duplicate = result({ event_id: id, status: { const: 'duplicate' } }, ['event_id', 'status'])
  const rejected = result({ event_id: id, status: { const: 'rejected' }, error: ref('Problem') }, ['status', 'error'])
  const count = { type: 'integer', minimum: 0, maximum: maxEvents }
  const batch = (of: string[], rejectedCount: Schema): Schema =>
    result(
      {
        accepted: count,
        duplicate: count,
        rejected: rejectedCount,
        spooled: { ...count, minimum: 1, description: 'How many of the accepted ones are spooled; absent for none.' },
        results: { type: 'array', minItems: 1, maxItems: maxEvents, items: { oneOf: of.map(ref) } },
      },
      ['accepted', 'duplicate', 'rejected', 'results'],
    )
  const types = Object.keys(eventTypes)
  return {
    Event: {
      oneOf: types.map(type => ref(`Event_${type}`)),
      discriminator: {
        propertyName: 'type',
        mapping: Object.fromEntries(types.map(type => [type, `#/components/schemas/Event_${type}`])),
      },
    },
    ...Object.fromEntries(types.map(type => [`Event_${type}`, eventSchema(type)])),
    ...Object.fromEntries(types.map(type => [`Payload_${type}`, eventTypes[type] as Schema])),
    Accepted: accepted,
    Duplicate: duplicate,
    Rejected: rejected,
    BatchStored: batch(['Accepted', 'Duplicate'], { const: 0 }),
    BatchMixed: batch(['Accepted', 'Duplicate', 'Rejected'], { ...count, minimum: 1 }),
    Problem: result(
      {
        code: { type: 'string', enum: Object.keys(PROBLEMS), description: 'Stable: programs may branch on it.' },
        message: { type: 'string', minLength: 1, description: 'For people; may change.' },
        path: { type: 'string', description: 'JSON pointer (RFC 6901) into the event.' },
        retryable: { type: 'boolean', description: 'Whether sending the same again can help.' },
      },
      ['code', 'message', 'retryable'],
    ),
  }
}

/** What the gateway itself checks of an event of that type. */
function eventSchema(type: string): Schema {
  const fields = eventTypes[type]?.properties as Record<string, { type: string }>
  const visitor = { type: ['string', 'null'], minLength: 1, maxLength: 256 }
  return {
    type: 'object',
    required: ['type'],
    additionalProperties: false,
    properties: {
      event_id: {
        type: 'string',
        minLength: 1,
        maxLength: 128,
        description: 'Unique within the tenant; the same again within 24 h is a duplicate. Made here when absent.',
      },
      type: { const: type },
      user_id: { ...visitor, description: 'A known visitor.' },
      session_id: { ...visitor, description: 'The visit.' },
      store_id: {
        type: ['string', 'null'],
        description: 'The tenant. Follows from the credential; if given, the same.',
      },
      sent_at: {
        description:
          'When the tracker sent it: RFC 3339 with an offset, or milliseconds since the epoch. Default: now.',
        oneOf: [{ type: 'string', format: 'date-time' }, { type: 'integer', minimum: 0 }, { type: 'null' }],
      },
      payload: {
        type: ['object', 'null'],
        description: `Full schema: Payload_${type}. Fields of your own are kept; numbers stay below 2^53.`,
        properties: Object.fromEntries(Object.entries(fields).map(([field, { type }]) => [field, { type }])),
      },
    },
  }
}
