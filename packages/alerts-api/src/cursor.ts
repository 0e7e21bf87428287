import type { Vector } from './vector.ts'

/** Why a text is no cursor, in words for the client who sent it. */
export class CursorError extends Error {
  override readonly name = 'CursorError'
}

const MAX_LENGTH = 16_384

/**
 * `c1.<cluster>.<partition>:<at>,<partition>:<at>…`: all that a client needs to go on anywhere, over SSE, WebSocket and
 * REST alike. Every character but letters, digits, `-` and `_` is written as `~` and two hex digits for each of its
 * UTF-8 bytes, so a cursor goes unquoted through URLs and headers, and CR, LF and NUL cannot be part of one.
 */
export class CursorText {
  readonly #prefix: string
  readonly #parts: string[]
  #text: string | undefined

  constructor(cluster: string, vector: Vector) {
    this.#prefix = `c1.${toPlain(cluster)}.`
    this.#parts = vector.map((at, partition) => `${partition}:${toPlain(at)}`)
  }

  set(partition: number, at: string): void {
    this.#parts[partition] = `${partition}:${toPlain(at)}`
    this.#text = undefined
  }

  toString(): string {
    this.#text ??= this.#prefix + this.#parts.join(',')
    return this.#text
  }
}

export const encodeCursor = (cluster: string, vector: Vector): string => new CursorText(cluster, vector).toString()

/** The places a cursor names, by partition; a partition it does not name is a hole. CursorError if it is none of this cluster's. */
export function decodeCursor(text: string, cluster: string, partitions: number): (string | undefined)[] {
  if (text.length > MAX_LENGTH) throw new CursorError(`a cursor has at most ${MAX_LENGTH} characters`)
  const match = /^c1\.([\w~-]*)\.([\w~:,-]*)$/.exec(text)
  if (!match) throw new CursorError('not a cursor: give back the id of a frame as it was, c1.<cluster>.<positions>')
  if (fromPlain(match[1] as string) !== cluster)
    throw new CursorError('this cursor is of another cluster: start again with from=earliest, from=latest or a time')
  const places: (string | undefined)[] = new Array(partitions).fill(undefined)
  for (const part of (match[2] as string).split(',')) {
    if (part === '') continue
    const [, number, at] = /^(0|[1-9]\d{0,5}):([\w~-]*)$/.exec(part) ?? []
    if (number === undefined || at === undefined)
      throw new CursorError('not a cursor: a part of it is not <partition>:<position>')
    const partition = Number(number)
    if (partition >= partitions) throw new CursorError(`this cursor names partition ${partition} of ${partitions}`)
    if (places[partition] !== undefined) throw new CursorError(`this cursor names partition ${partition} twice`)
    places[partition] = fromPlain(at)
  }
  return places
}

const PLAIN = /^[\w-]*$/
const encoder = new TextEncoder()

function toPlain(text: string): string {
  if (PLAIN.test(text)) return text
  let escaped = ''
  for (const byte of encoder.encode(text)) {
    const character = String.fromCharCode(byte)
    escaped += PLAIN.test(character) ? character : `~${byte.toString(16).padStart(2, '0')}`
  }
  return escaped
}

function fromPlain(text: string): string {
  if (!text.includes('~')) return text
  if (/~(?![0-9a-f]{2})/.test(text)) throw new CursorError('not a cursor: "~" must be followed by two hex digits')
  const bytes = Buffer.from(
    text.replace(/~(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new CursorError('not a cursor: what it escapes is not UTF-8')
  }
}
