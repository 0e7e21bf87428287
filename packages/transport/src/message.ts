import type { Header, Message } from './transport.ts'

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** UTF-8 bytes of a text: keys and header values. From Buffer's pool, as an ArrayBuffer for each costs most of the time. */
export function bytes(text: string): Uint8Array {
  const pooled = Buffer.from(text)
  return new Uint8Array(pooled.buffer, pooled.byteOffset, pooled.length)
}

/** The text of UTF-8 bytes. */
export const text = (value: Uint8Array): string => decoder.decode(value)

/** A header whose value is text. */
export const header = (name: string, value: string): Header => [name, bytes(value)]

/** The last header of that name as text, undefined if there is none. */
export function headerOf(message: Pick<Message, 'headers'>, name: string): string | undefined {
  const found = message.headers?.findLast(candidate => candidate[0] === name)
  return found && decoder.decode(found[1])
}

/** Headers that Weft itself gives a meaning; all others are the application's. */
export const HEADERS = {
  /** The tenant a record belongs to. */
  tenant: 'weft-tenant',
  /** W3C trace context. */
  trace: 'traceparent',
  /** A tick: the wall clock in milliseconds, logged so that time is an input like any other. */
  tick: 'weft-tick',
  /** Of a dead letter: cluster/topic/partition/position it was read from. */
  origin: 'weft-origin',
  error: 'weft-error',
  errorCode: 'weft-error-code',
  attempts: 'weft-attempts',
  failedAt: 'weft-failed-at',
  group: 'weft-group',
  /** Of a dead letter's second record: what became of it, `retried` or `discarded`. */
  outcome: 'weft-dlq',
} as const
