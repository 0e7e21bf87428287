import { hash } from 'node:crypto'

/** An id that follows from its parts alone: 32 hexadecimal digits, the same on every replay. */
export const idOf = (...parts: readonly (string | number)[]): string =>
  hash('sha256', parts.join('\0'), 'hex').slice(0, 32)

/** Two texts as one that no other two give: a session within its entity, an event within its tenant. */
export const joined = (outer: string, inner: string | null): string => `${outer.length}|${outer}|${inner ?? ''}`
