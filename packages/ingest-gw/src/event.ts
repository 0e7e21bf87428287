import { randomUUID } from 'node:crypto'
import { isTenant } from '@weft/auth'
import { entityKey, eventTypes, nearest } from '@weft/schema'
import { Problem, problemAt } from './problem.ts'

/** An event that may go into the log. Times are milliseconds since the epoch. */
export interface CheckedEvent {
  readonly event_id: string
  readonly type: string
  readonly store_id: string
  readonly user_id: string | null
  readonly session_id: string | null
  readonly sent_at: number
  /** JSON text. */
  readonly payload: string
  /** Record key. */
  readonly key: string
}

export interface EventChecks {
  /** How far sent_at may lie behind the clock here. Default 24 h. */
  readonly pastMs?: number
  /** How far before it. Default 5 min. */
  readonly futureMs?: number
  /** Levels of objects and arrays in a payload. Default 32. */
  readonly maxDepth?: number
}

export interface EventContext {
  /** The caller's; `*` may speak for any and has to name it. */
  readonly tenant: string
  readonly now: number
  /** That the text had a `\u` escape: only then can a string hold NUL or half a surrogate pair. */
  readonly escapes: boolean
  /** For an event that brings none. */
  readonly idOf?: (() => string) | undefined
}

const FIELDS: ReadonlySet<string> = new Set([
  'event_id',
  'type',
  'user_id',
  'session_id',
  'store_id',
  'sent_at',
  'payload',
])
const MAX_ID = 128
const MAX_VISITOR = 256

/** The type that each known payload field must have: bounds and required fields are the validate stage's. */
const PAYLOAD_TYPES: ReadonlyMap<string, readonly (readonly [field: string, type: string])[]> = new Map(
  Object.entries(eventTypes).map(([type, schema]) => [
    type,
    Object.entries(schema.properties as Record<string, { type: string }>).map(
      ([field, { type }]) => [field, type] as const,
    ),
  ]),
)

export type CheckEvent = (raw: unknown, context: EventContext) => CheckedEvent | Problem

export function eventChecker({ pastMs = 86_400_000, futureMs = 300_000, maxDepth = 32 }: EventChecks = {}): CheckEvent {
  return (raw, { tenant, now, escapes, idOf = randomUUID }) => {
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
      return problemAt('not_an_object', '', `an event must be a JSON object, not ${kindOf(raw)}`)
    for (const field in raw) if (!FIELDS.has(field)) return unknownField(field)
    const event = raw as Record<string, unknown>

    const type = event.type
    const known = typeof type === 'string' ? PAYLOAD_TYPES.get(type) : undefined
    if (typeof type !== 'string' || !known) return typeProblem(type)

    const id = event.event_id
    if (id !== undefined) {
      const fault = textProblem('/event_id', id, MAX_ID, escapes)
      if (fault) return fault
    }
    const user = event.user_id
    if (user != null) {
      const fault = textProblem('/user_id', user, MAX_VISITOR, escapes)
      if (fault) return fault
    }
    const session = event.session_id
    if (session != null) {
      const fault = textProblem('/session_id', session, MAX_VISITOR, escapes)
      if (fault) return fault
    }
    const store = event.store_id ?? tenant
    if (store !== tenant || tenant === '*') {
      const fault = storeProblem(event.store_id, tenant)
      if (fault) return fault
    }
    let sentAt = now
    if (event.sent_at != null) {
      const instant = instantOf(event.sent_at)
      if (instant instanceof Problem) return instant
      if (instant < now - pastMs || instant > now + futureMs) return skew(instant, now, pastMs, futureMs)
      sentAt = instant
    }
    const payload = event.payload ?? {}
    if (typeof payload !== 'object' || Array.isArray(payload))
      return problemAt('wrong_type', '/payload', `payload must be an object, not ${kindOf(payload)}`)
    for (const [field, expected] of known) {
      const value = (payload as Record<string, unknown>)[field]
      if (value !== undefined && !hasType(value, expected))
        return problemAt(
          'wrong_type',
          `/payload/${field}`,
          `${field} of ${type} must be ${article(expected)}, not ${kindOf(value)}`,
        )
    }
    if (escapes || !isPlain(payload)) {
      const fault = payloadProblem(payload, maxDepth, escapes)
      if (fault) return fault
    }

    const checked = {
      event_id: (id as string | undefined) ?? idOf(),
      type,
      store_id: store as string,
      user_id: (user as string | undefined) ?? null,
      session_id: (session as string | undefined) ?? null,
      sent_at: sentAt,
      payload: JSON.stringify(payload),
      key: '',
    }
    checked.key = entityKey(checked)
    return checked
  }
}

function unknownField(field: string): Problem {
  if (field === '__proto__') return problemAt('forbidden_key', '/__proto__', 'a key named "__proto__" is not taken')
  return problemAt(
    'unknown_field',
    pointer([field]),
    `an event has no field ${show(field)}${suggestion(field, FIELDS)}; what is your own goes into payload`,
  )
}

function typeProblem(type: unknown): Problem {
  if (type === undefined) return problemAt('missing_field', '/type', `type is missing: ${oneOfTypes()}`)
  if (typeof type !== 'string') return problemAt('wrong_type', '/type', `type must be a string, not ${kindOf(type)}`)
  if (type.startsWith('weft.'))
    return problemAt('reserved_type', '/type', 'event types that begin with "weft." are made by Weft alone')
  return problemAt(
    'unknown_type',
    '/type',
    `${show(type)} is not a known event type${suggestion(type, PAYLOAD_TYPES.keys())}; ${oneOfTypes()}`,
  )
}

const oneOfTypes = () => `it is one of ${[...PAYLOAD_TYPES.keys()].join(', ')}`

function textProblem(path: string, value: unknown, max: number, escapes: boolean): Problem | undefined {
  if (typeof value !== 'string')
    return problemAt('wrong_type', path, `${path.slice(1)} must be a string, not ${kindOf(value)}`)
  if (value.length === 0 || value.length > max)
    return problemAt('invalid_value', path, `${path.slice(1)} must have 1 to ${max} characters, not ${value.length}`)
  return escapes ? badText(path, value) : undefined
}

/** JSON admits both by an escape, UTF-8 and many a database downstream do not. */
function badText(path: string, value: string): Problem | undefined {
  if (value.includes('\0')) return problemAt('invalid_text', path, 'a text must not hold the character NUL')
  if (!value.isWellFormed()) return problemAt('invalid_text', path, 'a text holds half of a surrogate pair')
  return undefined
}

function storeProblem(store: unknown, tenant: string): Problem | undefined {
  if (store === undefined || store === null)
    return problemAt(
      'missing_field',
      '/store_id',
      'this credential stands for no single tenant: store_id must name one',
    )
  if (typeof store !== 'string')
    return problemAt('wrong_type', '/store_id', `store_id must be a string, not ${kindOf(store)}`)
  if (tenant !== '*')
    return problemAt(
      'tenant_foreign',
      '/store_id',
      `store_id is ${show(store)}, and this credential is not for that tenant`,
    )
  if (!isTenant(store)) return problemAt('invalid_value', '/store_id', `${show(store)} cannot be the id of a tenant`)
  return undefined
}

/** RFC 3339, with an offset: a local time would mean another instant on every machine. */
const INSTANT = /^(\d{4})-(\d\d)-(\d\d)[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/

function instantOf(value: unknown): number | Problem {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return value
    return problemAt('invalid_time', '/sent_at', 'sent_at as a number must be whole milliseconds since the epoch')
  }
  if (typeof value !== 'string')
    return problemAt('wrong_type', '/sent_at', `sent_at must be a string or a number, not ${kindOf(value)}`)
  const parts = INSTANT.exec(value)
  const instant = parts ? Date.parse(value.toUpperCase()) : Number.NaN
  // Date.parse lets 30 February be 1 March.
  const days = parts ? new Date(Date.UTC(Number(parts[1]), Number(parts[2]), 0)).getUTCDate() : 0
  if (!parts || Number.isNaN(instant) || Number(parts[3]) > days)
    return problemAt(
      'invalid_time',
      '/sent_at',
      `${show(value)} is no instant: write it as 2026-01-31T12:00:00.000Z, or as milliseconds since the epoch`,
    )
  return instant
}

function skew(instant: number, now: number, pastMs: number, futureMs: number): Problem {
  const ahead = instant > now
  const by = Math.round(Math.abs(instant - now) / 1000)
  const allowed = (ahead ? futureMs : pastMs) / 1000
  const where = ahead ? 'ahead of' : 'behind'
  return problemAt('clock_skew', '/sent_at', `sent_at is ${by} s ${where} the clock here; up to ${allowed} s are taken`)
}

/** Whether it is what most payloads are, a level of texts, booleans and whole numbers: then nothing is wrong with it. */
function isPlain(payload: object): boolean {
  for (const key in payload) {
    const value = (payload as Record<string, unknown>)[key]
    if (key === '__proto__' || typeof value === 'object') return false
    if (typeof value === 'number' && !Number.isSafeInteger(value)) return false
  }
  return true
}

/** Depth, keys, numbers and texts of what is free in its form. Without recursion. */
function payloadProblem(payload: object, maxDepth: number, escapes: boolean): Problem | undefined {
  let level: { readonly value: object; readonly path: readonly string[] }[] = [{ value: payload, path: ['payload'] }]
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > maxDepth) return problemAt('too_deep', '/payload', `payload is nested deeper than ${maxDepth} levels`)
    const deeper: typeof level = []
    for (const { value, path } of level) {
      for (const key in value) {
        if (key === '__proto__')
          return problemAt('forbidden_key', pointer([...path, key]), 'a key named "__proto__" is not taken')
        if (escapes && badText('', key))
          return problemAt('invalid_text', pointer(path), 'a key holds NUL or half of a surrogate pair')
        const inner = (value as Record<string, unknown>)[key]
        if (typeof inner === 'object') {
          if (inner !== null) deeper.push({ value: inner, path: [...path, key] })
        } else if (typeof inner === 'number') {
          if (!Number.isSafeInteger(inner) && !(Number.isFinite(inner) && Math.abs(inner) < 2 ** 53))
            return problemAt(
              'number_out_of_range',
              pointer([...path, key]),
              'a number of 2^53 or more loses digits on its way: send it as a string',
            )
        } else if (escapes && typeof inner === 'string') {
          const fault = badText(pointer([...path, key]), inner)
          if (fault) return fault
        }
      }
    }
    level = deeper
  }
  return undefined
}

function hasType(value: unknown, type: string): boolean {
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}

function suggestion(word: string, known: Iterable<string>): string {
  const meant = word.length > 100 ? undefined : nearest(word, known)
  return meant === undefined ? '' : `, did you mean "${meant}"?`
}

const article = (type: string) => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'number' && !Number.isInteger(value)) return 'a fraction'
  return article(typeof value)
}

const show = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)

const pointer = (names: readonly string[]) =>
  names.map(name => `/${name.slice(0, 200).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
