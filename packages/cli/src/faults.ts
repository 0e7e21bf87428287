import { nearest } from '@weft/schema'
import type { z } from 'zod'
import { type Described, described } from './settings.ts'

/** What a fault is about and what would be right. */
export interface Wrong {
  readonly at: string
  readonly what: string
}

/** Names that hold secrets, and what to do instead. */
const SECRETS: Record<string, string> = {
  secret: 'set WEFT_JWT_SECRET, or name a file with secretFile',
  writekeys: 'set WEFT_WRITE_KEYS (key=tenant,…), or name a file with writeKeysFile',
  writekey: 'set WEFT_WRITE_KEYS (key=tenant,…), or name a file with writeKeysFile',
  key: 'name a file with keyFile',
  privatekey: 'name a file with keyFile',
  password: 'give it in the environment or a file',
  token: 'give it in the environment or a file',
  apikey: 'give it in the environment or a file',
}

/** A URL with user and password. */
const PASSWORD = /^[a-z][a-z0-9+]*:\/\/[^/@]*:[^/@]+@/

const variableOf = (at: string) =>
  `WEFT${at.replace(/[A-Z]/g, letter => `_${letter}`).replaceAll('/', '_')}`.toUpperCase()

/** A secret in the file ends up in a repository: it is refused, and never shown. */
export function secretsIn(value: unknown, at = ''): Wrong[] {
  if (typeof value === 'string' && PASSWORD.test(value))
    return [{ at, what: `a password must not be in the file: give the whole URL by the variable ${variableOf(at)}` }]
  if (value === null || typeof value !== 'object') return []
  return Object.entries(value).flatMap(([name, inner]) => {
    const remedy = Array.isArray(value) ? undefined : SECRETS[name.toLowerCase().replace(/[_-]/g, '')]
    const here = `${at}/${name}`
    return remedy ? [{ at: here, what: `a secret must not be in the file: ${remedy}` }] : secretsIn(inner, here)
  })
}

/** One fault a name that is wrong. */
export function describe(issue: z.core.$ZodIssue, raw: unknown): Wrong[] {
  const at = `/${issue.path.join('/')}`
  let value = raw
  for (const step of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[step]
  const is = value === undefined ? 'is missing' : `is ${(JSON.stringify(value) ?? typeof value).slice(0, 60)}`
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownAt(issue.path)
      return issue.keys.map(key => {
        const meant = nearest(key, known)
        const hint = meant ? `did you mean ${meant}?` : `expected ${known.join(', ')}`
        return { at: `${issue.path.length ? at : ''}/${key}`, what: `is unknown, ${hint}` }
      })
    }
    case 'invalid_type':
      return [{ at, what: `${is}, expected ${issue.expected === 'int' ? 'a whole number' : aOr(issue.expected)}` }]
    case 'too_small':
      return [{ at, what: `${is}, expected ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}` }]
    case 'too_big':
      return [{ at, what: `${is}, expected at most ${issue.maximum}` }]
    case 'invalid_value':
      return [{ at, what: `${is}, expected ${issue.values.map(String).join(' or ')}` }]
    default:
      return [{ at, what: `${is}, expected ${issue.message.replace(/^Invalid URL$/, 'a URL of http or https')}` }]
  }
}

const NAMES: Record<string, string> = {
  array: 'a list',
  object: 'names and values',
  record: 'names and values',
  boolean: 'true or false',
}
const aOr = (type: string) => NAMES[type] ?? `a ${type}`

function knownAt(at: readonly PropertyKey[]): string[] {
  let part: Described | undefined = described
  for (const step of at) part = part?.properties?.[String(step)]
  return Object.keys(part?.properties ?? {})
}
