/**
 * Whose event it is: `store_id:(user_id, else session_id, else empty)`. The record key from events.raw.v1 to alerts.v1,
 * so that all of an entity is in one partition, in order.
 */
export const entityKey = (event: {
  readonly store_id: string
  readonly user_id?: string | null
  readonly session_id?: string | null
}): string => `${event.store_id}:${event.user_id ?? event.session_id ?? ''}`

/** A key template taken apart: literal text and, in braces, fields of which the first that is not null counts. */
export type KeyTemplate = readonly (string | readonly string[])[]

/** Throws a SyntaxError that tells what would be right. */
export function parseKey(template: string): KeyTemplate {
  const parts = template.split(/(\{[^{}]*\})/).filter(part => part !== '')
  return parts.map(part => {
    if (!/[{}]/.test(part)) return part
    const fields = part.slice(1, -1).split('|')
    if (!part.endsWith('}') || !part.startsWith('{') || !fields.every(field => /^[A-Za-z_]\w*$/.test(field))) {
      throw new SyntaxError(`${part} is not a field in braces`)
    }
    return fields
  })
}

/** The key of a value, as text. */
export function renderKey(template: KeyTemplate, value: Readonly<Record<string, unknown>>): string {
  return template
    .map(part =>
      typeof part === 'string' ? part : (part.map(field => value[field]).find(found => found != null) ?? ''),
    )
    .join('')
}
