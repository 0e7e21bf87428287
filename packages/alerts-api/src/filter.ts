import type { Frame } from './frame.ts'

/** What a client wants to see. An empty list wants everything of that field. */
export interface Filter {
  /** undefined: those of every tenant. */
  readonly tenant: string | undefined
  readonly severity: readonly string[]
  readonly rule: readonly string[]
  readonly entity: readonly string[]
  readonly state: readonly string[]
}

/** Why a filter is none, in words for the client who sent it. */
export class FilterError extends Error {
  override readonly name = 'FilterError'
}

const FIELDS = ['severity', 'rule', 'entity', 'state'] as const
const ALLOWED: Partial<Record<string, readonly string[]>> = {
  severity: ['info', 'warning', 'critical'],
  state: ['raised', 'cleared'],
}
const MAX_VALUES = 64
const MAX_LENGTH = 512

/**
 * From a query: a field may be given several times, severity and state also as a list parted by commas (the names of
 * rules and entities may hold commas). FilterError names the field and what would be right.
 */
export function parseFilter(query: Readonly<Record<string, string | string[] | undefined>>, tenant?: string): Filter {
  const [severity, rule, entity, state] = FIELDS.map(field => valuesOf(query, field)) as [
    string[],
    string[],
    string[],
    string[],
  ]
  return { tenant, severity, rule, entity, state }
}

function valuesOf(query: Readonly<Record<string, string | string[] | undefined>>, field: string): string[] {
  const allowed = ALLOWED[field]
  const given = [query[field] ?? []].flat()
  const values = [...new Set(allowed ? given.flatMap(text => text.split(',')) : given)].filter(Boolean)
  if (values.length > MAX_VALUES) throw new FilterError(`${field}: at most ${MAX_VALUES} values`)
  for (const value of values) {
    if (value.length > MAX_LENGTH) throw new FilterError(`${field}: a value has at most ${MAX_LENGTH} characters`)
    if (allowed && !allowed.includes(value))
      throw new FilterError(`${field}: ${JSON.stringify(value)} is none of ${allowed.join(', ')}`)
  }
  return values.sort()
}

/** Equal for filters that want the same: whoever shares it can be sent the very same bytes. */
export const filterKey = (filter: Filter): string =>
  JSON.stringify([filter.tenant ?? null, filter.severity, filter.rule, filter.entity, filter.state])

type Subject = Pick<Frame, 'tenant' | 'severity' | 'rule' | 'entity' | 'state'>

export const matches = (filter: Filter, alert: Subject): boolean =>
  (filter.tenant === undefined || filter.tenant === alert.tenant) &&
  FIELDS.every(field => filter[field].length === 0 || filter[field].includes(alert[field]))
