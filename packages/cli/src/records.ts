import type { Catalogue, Events } from '@weft/schema'
import { HEADERS, headerOf, type Message, type Received, text, WeftError } from '@weft/transport'

/** A record as `tail` shows it and `produce --records` takes it. */
export interface Shown {
  readonly topic: string
  readonly partition: number
  readonly at: string
  /** ISO 8601. */
  readonly time: string
  readonly key: string | null
  readonly headers: Readonly<Record<string, string>>
  /** subject@version, null if the record names none. */
  readonly schema: string | null
  readonly value: unknown
}

/** Text as it is, other bytes as `base64:…`. */
export function readable(bytes: Uint8Array): string {
  const decoded = text(bytes)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what makes bytes not a text
  return /[\u0000-\u0008\u000e-\u001f\ufffd]/.test(decoded)
    ? `base64:${Buffer.from(bytes).toString('base64')}`
    : decoded
}

/** The value by the schema it was written with; a topic outside the catalogue shows JSON or text, or base64. */
export function decode(catalogue: Catalogue, message: Message & Partial<Pick<Received, 'topic'>>): unknown {
  if (message.value === null) return null
  const subject = message.schema?.subject.replace(/^registry:|-value$/g, '')
  const topic = [subject, message.topic?.name].find(name => name !== undefined && catalogue.topics.has(name))
  if (topic !== undefined) {
    const codec = catalogue.codec(topic as keyof Events)
    return codec.decode(message as { value: Uint8Array; schema?: NonNullable<Message['schema']> })
  }
  const shown = readable(message.value)
  try {
    return JSON.parse(shown)
  } catch {
    return shown
  }
}

export function show(catalogue: Catalogue, message: Received): Shown {
  let value: unknown
  try {
    value = decode(catalogue, message)
  } catch (error) {
    if (!(error instanceof WeftError)) throw error
    value = { undecodable: error.message, bytes: message.value }
  }
  return {
    topic: message.topic.name,
    partition: message.position.partition,
    at: message.position.at,
    time: new Date(message.time).toISOString(),
    key: message.key ? readable(message.key) : null,
    headers: Object.fromEntries((message.headers ?? []).map(([name, bytes]) => [name, readable(bytes)])),
    schema: message.schema ? `${message.schema.subject}@${message.schema.version}` : null,
    value,
  }
}

export const isTick = (message: Message): boolean => headerOf(message, HEADERS.tick) !== undefined
