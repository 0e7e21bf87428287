import { WeftError } from '@weft/transport'

export type Severity = 'info' | 'warning' | 'critical'

interface Named {
  /** Names its alerts and its state: a rule renamed starts over. */
  readonly name: string
  /** Default: warning. */
  readonly severity: Severity
  /** Only these; all if absent. */
  readonly tenants?: readonly string[]
}

/** Raised when a session's score reaches `raise`, cleared when it falls below `clear`: between the two nothing changes. */
export interface ThresholdRule extends Named {
  readonly kind: 'threshold'
  readonly raise: number
  readonly clear: number
  /** Event types at which the score is looked at; any if absent. */
  readonly on?: readonly string[]
  /** Not raised in a session that has seen one of these. */
  readonly unless?: readonly string[]
}

/** Raised when `count` events of these types lie within `within` of event time, cleared when they no longer do. */
export interface CountRule extends Named {
  readonly kind: 'count'
  readonly events: readonly string[]
  readonly count: number
  readonly withinMs: number
}

/** Raised when none of `expect` follows one of `after` in the session within `within` of event time. */
export interface SilenceRule extends Named {
  readonly kind: 'silence'
  readonly after: readonly string[]
  readonly expect: readonly string[]
  readonly withinMs: number
}

export type Rule = ThresholdRule | CountRule | SilenceRule

const SEVERITIES: readonly Severity[] = ['info', 'warning', 'critical']
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const LONGEST = 7 * UNITS.d
const MOST = 1000

const FIELDS: Readonly<Record<Rule['kind'], readonly string[]>> = {
  threshold: ['raise', 'clear', 'on', 'unless'],
  count: ['events', 'count', 'within'],
  silence: ['after', 'expect', 'within'],
}

/**
 * Rules as one writes them: durations as `30s`, `10m`, `1h` or milliseconds, a list of one as its only element, `clear`
 * by default 0.1 below `raise`. Throws one INVALID that lists every fault with its path and what would be valid.
 */
export function parseRules(written: unknown): Rule[] {
  const faults: string[] = []
  const rules = Array.isArray(written) ? written.map((rule, index) => parse(rule, `rules/${index}`, faults)) : []
  if (!Array.isArray(written)) faults.push('rules: expected a list')
  const names = rules.map(rule => rule?.name)
  for (const [index, name] of names.entries()) {
    if (name && names.indexOf(name) !== index) faults.push(`rules/${index}/name: ${name} is taken: expected another`)
  }
  if (faults.length > 0) throw new WeftError('INVALID', `wrong alert rules:\n  ${faults.join('\n  ')}`)
  return rules as Rule[]
}

function parse(written: unknown, at: string, faults: string[]): Rule | undefined {
  if (typeof written !== 'object' || written === null || Array.isArray(written)) {
    faults.push(`${at}: expected a rule with name and kind`)
    return undefined
  }
  const rule = written as Record<string, unknown>
  const wrong = (field: string, expected: string) => {
    faults.push(`${at}/${field}: is ${show(rule[field])}, expected ${expected}`)
    return undefined as never
  }
  const texts = (field: string): readonly string[] => {
    const list = [rule[field]].flat()
    const right = list.length > 0 && list.every(item => typeof item === 'string' && item !== '')
    return right ? (list as string[]) : wrong(field, 'a name or a list of names')
  }
  const optional = (field: string) => (rule[field] === undefined ? {} : { [field]: texts(field) })
  const number = (field: string, low: number, high: number, fallback?: number): number => {
    const value = rule[field] ?? fallback
    return typeof value === 'number' && value >= low && value <= high
      ? value
      : wrong(field, `a number from ${low} to ${high}`)
  }
  const within = (): number => {
    const ms = durationOf(rule.within ?? rule.withinMs)
    return ms && ms <= LONGEST
      ? ms
      : wrong(rule.withinMs === undefined ? 'within' : 'withinMs', 'a duration such as 10m, at most 7d')
  }

  const kind = rule.kind as Rule['kind']
  if (!Object.hasOwn(FIELDS, String(kind))) return wrong('kind', `one of ${Object.keys(FIELDS).join(', ')}`)
  const allowed = [
    'name',
    'kind',
    'severity',
    'tenants',
    ...FIELDS[kind],
    ...(FIELDS[kind].includes('within') ? ['withinMs'] : []),
  ]
  for (const field of Object.keys(rule)) {
    if (!allowed.includes(field)) faults.push(`${at}/${field}: is unknown, expected only ${allowed.join(', ')}`)
  }
  const named = {
    name:
      typeof rule.name === 'string' && /^[A-Za-z][\w.-]{0,99}$/.test(rule.name)
        ? rule.name
        : wrong('name', 'a letter and up to 99 of A-Z a-z 0-9 _ . -'),
    severity:
      SEVERITIES.find(severity => severity === (rule.severity ?? 'warning')) ??
      wrong('severity', `one of ${SEVERITIES.join(', ')}`),
    ...optional('tenants'),
  }
  if (kind === 'count') return { ...named, kind, events: texts('events'), count: whole('count'), withinMs: within() }
  if (kind === 'silence') return { ...named, kind, after: texts('after'), expect: texts('expect'), withinMs: within() }
  const raise = number('raise', 0, 1)
  const clear = number('clear', 0, 1, Math.max(0, (raise ?? 0) - 0.1))
  if (clear > raise) wrong('clear', `at most raise, ${raise}`)
  return { ...named, kind, raise, clear, ...optional('on'), ...optional('unless') }

  function whole(field: string): number {
    return Number.isInteger(rule[field]) ? number(field, 1, MOST) : wrong(field, `a whole number from 1 to ${MOST}`)
  }
}

/** Milliseconds of `90s`, `10m`, `1h` or a number; undefined for anything else. */
export function durationOf(written: unknown): number | undefined {
  if (typeof written === 'number') return Number.isFinite(written) && written > 0 ? written : undefined
  const match = typeof written === 'string' ? /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(written.trim()) : null
  return match ? Number(match[1]) * UNITS[match[2] as keyof typeof UNITS] || undefined : undefined
}

function show(value: unknown): string {
  if (value === undefined) return 'missing'
  return (JSON.stringify(value) ?? typeof value).slice(0, 60)
}
