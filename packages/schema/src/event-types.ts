import { Ajv, type AnySchemaObject, type ErrorObject, type SchemaObject, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import { type Fault, suggestion } from './fault.ts'

/** Milliseconds since the session began on the tracker's monotonic clock: durations come from it, never from wall clocks. */
const elapsed = { type: 'integer', minimum: 0, maximum: 31_536_000_000 }
const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength })
const amount = { type: 'number', minimum: 0, maximum: 1e12 }
const currency = { type: 'string', pattern: '^[A-Z]{3}$' }

const payload = (required: readonly string[], properties: Readonly<Record<string, SchemaObject>>): SchemaObject => ({
  type: 'object',
  required: ['elapsed_ms', ...required],
  properties: { elapsed_ms: elapsed, ...properties },
})

/** JSON Schema of the payload of each event type. Fields beyond them are allowed and kept. */
export const eventTypes: Readonly<Record<string, SchemaObject>> = {
  session_start: payload(['visitor'], {
    visitor: { type: 'string', enum: ['new', 'returning', 'other'] },
    local_date: { type: 'string', format: 'date' },
    special_day: { type: 'number', minimum: 0, maximum: 1 },
    traffic_source: { type: 'integer', minimum: 0, maximum: 1_000_000 },
  }),
  page_view: payload(['page'], {
    page: { type: 'string', enum: ['administrative', 'informational', 'product'] },
    url: text(8192),
    product_id: text(256),
  }),
  add_to_cart: payload(['product_id'], {
    product_id: text(256),
    quantity: { type: 'integer', minimum: 1, maximum: 1_000_000 },
    price: amount,
    currency,
  }),
  purchase: payload([], { order_id: text(256), total: amount, currency }),
  session_end: payload([], {}),
}

/** Version of these schemas, as events.validated.v1 carries it. Raise it with every change. */
export const eventTypesVersion = '1'

const ajv = formats.default(new Ajv({ allErrors: true, verbose: true, strict: true }), ['date'])
const compiled = new Map<string, ValidateFunction>(
  Object.entries(eventTypes).map(([type, schema]) => [type, ajv.compile(schema)]),
)

export const isEventType = (type: string): boolean => compiled.has(type)

/** What is wrong with an event of that type from outside, paths from the event's root; nothing if it is right. */
export function checkEvent(type: string, payload: unknown): Fault[] {
  const validate = compiled.get(type)
  if (!validate) return [unknownType(type)]
  if (validate(payload)) return []
  return (validate.errors ?? []).map(faultOf)
}

function unknownType(type: string): Fault {
  return {
    path: '/type',
    problem: `${show(type)} is not a known event type${suggestion(type, compiled.keys())}`,
    expected: `one of ${[...compiled.keys()].join(', ')}`,
  }
}

function faultOf(error: ErrorObject): Fault {
  const path = `/payload${error.instancePath}`
  if (error.keyword === 'required') {
    const field: string = error.params.missingProperty
    return {
      path: `${path}/${field}`,
      problem: 'is missing',
      expected: expectation(error.parentSchema?.properties?.[field]),
    }
  }
  return { path, problem: `is ${show(error.data)}`, expected: expectation(error.parentSchema) }
}

/** A schema in words. */
function expectation(schema: AnySchemaObject | undefined): string {
  if (!schema) return 'a value'
  if (schema.enum) return `one of ${schema.enum.map((value: unknown) => JSON.stringify(value)).join(', ')}`
  if (schema.format === 'date') return 'a date as YYYY-MM-DD'
  if (schema === currency) return 'an ISO 4217 code of three capital letters, such as EUR'
  if (schema.type === 'object') return 'an object'
  if (schema.type === 'string') return `a string of ${schema.minLength} to ${schema.maxLength} characters`
  return `${schema.type === 'integer' ? 'an integer' : 'a number'} from ${schema.minimum} to ${schema.maximum}`
}

/** A value as it stands in a message: short, and only its kind when it is long. */
function show(value: unknown): string {
  if (value === undefined) return 'missing'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'string' && value.length > 40) return `a string of ${value.length} characters`
  return JSON.stringify(value) ?? typeof value
}
