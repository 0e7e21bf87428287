import { nearest } from '@weft/schema'
import type { Wrong } from './faults.ts'
import { type Described, described } from './settings.ts'

interface Leaf {
  readonly path: readonly string[]
  readonly type: string | undefined
}

function* leaves({ properties, type }: Described, at: readonly string[] = []): Generator<Leaf> {
  if (!properties) yield { path: at, type }
  else for (const [name, inner] of Object.entries(properties)) yield* leaves(inner, [...at, name])
}

const variableOf = (at: readonly string[]) =>
  `WEFT_${at.map(name => name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()).join('_')}`

/** Variables and what they override, such as WEFT_GATEWAY_PORT and gateway.port. */
export const VARIABLES: ReadonlyMap<string, Leaf> = new Map(
  [...leaves(described)].map(leaf => [variableOf(leaf.path), leaf]),
)

const OTHER_VARIABLES = [
  'WEFT_CONFIG',
  'WEFT_WRITE_KEYS',
  'WEFT_JWT_SECRET',
  'WEFT_REGISTRY_USER',
  'WEFT_REGISTRY_PASSWORD',
  'WEFT_REGISTRY_TOKEN',
]

/** A misspelt override of a section would silently do nothing; other WEFT_ variables are none of ours. */
const OURS = /^WEFT_(DEV|AUTH|GATEWAY|PIPELINE|ALERTS|REGISTRY)_/

/** What the file says, with the variables in place of it. */
export function withEnvironment(written: Record<string, unknown>, env: NodeJS.ProcessEnv, wrong: Wrong[]) {
  const raw = structuredClone(written)
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('WEFT_') || text === undefined || text === '') continue
    const leaf = VARIABLES.get(name)
    if (!leaf) {
      if (!OURS.test(name) || OTHER_VARIABLES.includes(name)) continue
      const meant = nearest(name, [...VARIABLES.keys(), ...OTHER_VARIABLES])
      wrong.push({ at: name, what: `is not a setting${meant ? `, did you mean ${meant}?` : ''}` })
      continue
    }
    let at = raw
    for (const step of leaf.path.slice(0, -1)) {
      const inner = at[step]
      at[step] = typeof inner === 'object' && inner !== null ? inner : {}
      at = at[step] as Record<string, unknown>
    }
    at[leaf.path.at(-1) as string] = parsedAs(text, leaf.type)
  }
  return raw
}

/** What the shape then refuses if it is not right. */
function parsedAs(text: string, type: string | undefined): unknown {
  if ((type === 'number' || type === 'integer') && text.trim() !== '' && Number.isFinite(Number(text)))
    return Number(text)
  if (type === 'boolean' && /^(true|false|1|0|yes|no)$/i.test(text)) return /^(true|1|yes)$/i.test(text)
  if (type === 'array' && !text.trimStart().startsWith('[')) return text.split(',').map(each => each.trim())
  if (type === 'array' || type === 'object') {
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
  return text
}
