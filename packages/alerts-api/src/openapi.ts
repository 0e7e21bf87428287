import type { FastifyDynamicSwaggerOptions as SwaggerOptions } from '@fastify/swagger'
import { REFUSALS, type RefusalCode } from './refusal.ts'

const text = { type: 'string' } as const
const list = (of: object, description: string) => ({
  type: 'array',
  items: of,
  description,
  style: 'form',
  explode: true,
})

export const filterParameters = {
  severity: list(
    { enum: ['info', 'warning', 'critical'] },
    'Only these; may be given several times or parted by commas.',
  ),
  state: list({ enum: ['raised', 'cleared'] }, 'Only these; may be given several times or parted by commas.'),
  rule: list({ ...text, maxLength: 512 }, 'Only these rules; may be given several times.'),
  entity: list({ ...text, maxLength: 512 }, 'Only these entities; may be given several times.'),
  tenant: { ...text, description: "Only this tenant; a tenant's token sees its own anyway." },
  access_token: { ...text, description: 'The token, for clients that cannot set a header (EventSource).' },
}

export const startParameters = (otherwise: string) => ({
  from: {
    ...text,
    default: otherwise,
    description: 'Where to begin: earliest, latest, a cursor, or an instant (ISO 8601 or epoch milliseconds).',
  },
  cursor: { ...text, description: 'Goes on after this cursor: the id of an event, or of a page; wins over `from`.' },
  last_event_id: { ...text, description: 'The same as `cursor`, and wins over it.' },
})

export const pageParameters = {
  limit: { type: 'integer', minimum: 1, maximum: 1_000, default: 100 },
  wait: {
    type: 'integer',
    minimum: 0,
    maximum: 30,
    default: 0,
    description: 'Seconds to wait for an alert when there is none.',
  },
}

const nullable = (type: string, more = {}) => ({ type: [type, 'null'], ...more })
const instant = { type: 'integer', description: 'Milliseconds since the epoch.' }

const alert = {
  type: 'object',
  properties: {
    alert_id: text,
    store_id: { ...text, description: 'The tenant.' },
    user_id: nullable('string'),
    session_id: nullable('string'),
    entity: text,
    rule: text,
    severity: { enum: ['info', 'warning', 'critical'] },
    state: { enum: ['raised', 'cleared'] },
    score: nullable('number'),
    threshold: nullable('number'),
    message: text,
    source_event_id: nullable('string'),
    window_start: nullable('integer'),
    window_end: nullable('integer'),
    event_time: instant,
    raised_at: instant,
    received_at: nullable('integer'),
  },
}

const reset = {
  type: 'object',
  description: 'Alerts after `from` up to `to` are not given.',
  properties: { reason: { enum: ['retention', 'slow', 'ahead'] }, from: text, to: text },
}

const page = {
  type: 'object',
  required: ['alerts', 'cursor', 'more'],
  properties: {
    alerts: { type: 'array', items: alert },
    cursor: { ...text, description: 'Goes on after this page.' },
    more: { type: 'boolean', description: 'More may be had at once.' },
    reset,
  },
}

const problem = {
  type: 'object',
  required: ['code', 'message', 'retryable'],
  properties: { code: { enum: Object.keys(REFUSALS) }, message: text, retryable: { type: 'boolean' } },
}

const retryAfter = { 'retry-after': { schema: { type: 'integer' }, description: 'Seconds.' } }

/** One answer for each status that these codes have. */
function refusals(...codes: RefusalCode[]) {
  const byStatus = Map.groupBy(codes, code => REFUSALS[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.map(code => `${code}: ${REFUSALS[code].meaning}`).join(' '),
        ...(status === 429 || status === 503 ? { headers: retryAfter } : {}),
        content: { 'application/json': { schema: problem } },
      },
    ]),
  )
}

const TOKEN: RefusalCode[] = [
  'credential_missing',
  'credential_invalid',
  'token_malformed',
  'token_algorithm',
  'token_signature',
  'token_expired',
  'token_not_yet_valid',
  'token_claim',
  'scope_missing',
  'tenant_foreign',
  'keys_unavailable',
  'internal',
]
const READING: RefusalCode[] = ['invalid_cursor', 'invalid_filter', 'invalid_request', 'log_unavailable']
const CROWDED: RefusalCode[] = ['too_many_connections', 'full', 'shutting_down']

const events = { description: 'Server-sent events.', content: { 'text/event-stream': { schema: text } } }

export const streamAnswers = { 200: events, ...refusals(...READING, ...TOKEN, ...CROWDED) }

export const pageAnswers = {
  200: { description: 'A page.', content: { 'application/json': { schema: page } } },
  ...refusals(...READING, ...TOKEN, ...CROWDED),
}

const count = { type: 'integer', minimum: 0 }
const rate = { type: 'number', minimum: 0 }

const stats = {
  type: 'object',
  properties: {
    at: instant,
    eventsPerSecond: { ...rate, description: 'Events that were taken.' },
    alertsPerMinute: {
      type: 'array',
      description: 'Alerts raised in each of the last 60 minutes, oldest first.',
      items: { type: 'object', properties: { minute: instant, critical: count, warning: count, info: count } },
    },
    scores: { type: 'array', items: count, description: 'How many scores are in each tenth from 0 to 1.' },
    deadLetters: { ...count, description: 'Dead letters that nobody has retried or discarded yet.' },
    tenants: { type: 'array', items: text, description: 'Seen so far; for a token of one tenant that one.' },
    stages: {
      type: 'array',
      description: 'Records per second in and out, and records waiting; only for tokens above tenants.',
      items: { type: 'object', properties: { stage: text, in: rate, out: rate, lag: count } },
    },
    groups: {
      type: 'array',
      description: 'Records that each consumer group has not settled; only for tokens above tenants.',
      items: { type: 'object', properties: { group: text, topic: text, lag: count } },
    },
  },
}

export const statsAnswers = {
  200: { description: 'The numbers now.', content: { 'application/json': { schema: stats } } },
  ...refusals('invalid_request', ...TOKEN),
}
export const statsStreamAnswers = { 200: events, ...refusals('invalid_request', ...TOKEN, ...CROWDED) }

export const document: SwaggerOptions['openapi'] = {
  openapi: '3.1.0',
  info: {
    title: 'Weft alerts API',
    version: '1',
    description:
      'Alerts over server-sent events, WebSocket and REST, all with the same cursor: what one gives out, each of the ' +
      'others takes, at any instance.\n\nWebSocket: `/v1/alerts/ws` takes the same query as `/v1/alerts/stream`, and the ' +
      'token also as a subprotocol: offer `weft.alerts.v1` and `bearer.<token>`. Each message is JSON with a `type`: ' +
      '`{"type":"alert","cursor":…,"alert":{…}}`, `{"type":"cursor","cursor":…}`, `{"type":"reset","reason":…,"from":…,"to":…}`, ' +
      '`{"type":"end","reason":…,"cursor":…,"retryMs":…}`. A client may say `{"type":"ping"}` (up to 4096 bytes) and nothing ' +
      'else. Close codes: 4401 the token expired, 1012 the server goes away, 1013 the client is too slow, 1008 it said ' +
      'something else, 1009 it said too much, 1011 the log cannot be read.',
  },
  components: { securitySchemes: { token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
  security: [{ token: [] }],
}
