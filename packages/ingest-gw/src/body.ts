import { isAscii, isUtf8 } from 'node:buffer'
import { brotliDecompress, gunzip, type InputType, zstdDecompress } from 'node:zlib'
import { describeJsonFault } from './json.ts'
import { Problem } from './problem.ts'

export interface BodyLimits {
  /** Bytes as sent. Default 1 MiB. */
  readonly maxBodyBytes?: number
  /** Bytes once decompressed. Default 4 MiB. */
  readonly maxDecodedBytes?: number
  /** Default 1,000. */
  readonly maxEvents?: number
}

/** What a request holds: events not yet checked, in order; a line of NDJSON that is not JSON is a Problem in its place. */
export interface ParsedBody {
  readonly events: readonly unknown[]
  /** A JSON object that stands alone: answered by itself, not by a list. */
  readonly single: boolean
  /** That the text has a `\u` escape. */
  readonly escapes: boolean
}

export type Format = 'json' | 'ndjson'

const MEDIA: Readonly<Record<string, Format>> = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
}

/** By Content-Type; Problem unsupported_media_type for any other, and for another charset than UTF-8. */
export function formatOf(contentType: string | undefined): Format {
  if (contentType === 'application/json') return 'json'
  const [media = '', ...parameters] = (contentType ?? '').split(';')
  const format = MEDIA[media.trim().toLowerCase()]
  if (!format)
    throw new Problem(
      'unsupported_media_type',
      `Content-Type ${contentType ? JSON.stringify(contentType) : 'is missing: it'} must be application/json, or application/x-ndjson for an event a line`,
    )
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    if (name.trim().toLowerCase() !== 'charset') continue
    if (!/^"?utf-?8"?$/i.test(value.trim()))
      throw new Problem('unsupported_media_type', `charset ${JSON.stringify(value)} is not taken: send UTF-8`)
  }
  return format
}

type Decompress = (
  body: InputType,
  options: { maxOutputLength: number },
  done: (error: (Error & { code?: string }) | null, result: Buffer) => void,
) => void

const DECOMPRESS: Readonly<Record<string, Decompress>> = {
  gzip: gunzip,
  'x-gzip': gunzip,
  br: brotliDecompress,
  zstd: zstdDecompress,
}
export const ENCODINGS = 'gzip, br, zstd'

/** Whether the body is to be decompressed. Problem unsupported_encoding unless it is one that is taken, once. */
export function isEncoded(contentEncoding: string | undefined): contentEncoding is string {
  if (contentEncoding === undefined) return false
  const name = contentEncoding.trim().toLowerCase()
  if (name === 'identity') return false
  if (Object.hasOwn(DECOMPRESS, name)) return true
  throw new Problem(
    'unsupported_encoding',
    `Content-Encoding ${JSON.stringify(contentEncoding)} is not taken: send one of ${ENCODINGS}, or none`,
  )
}

/** Decompresses off the event loop and stops at the limit, however little was sent. */
export function decompress(body: Buffer, encoding: string, maxDecodedBytes: number): Promise<Buffer> {
  const name = encoding.trim().toLowerCase()
  return new Promise((resolve, reject) => {
    DECOMPRESS[name]?.(body, { maxOutputLength: maxDecodedBytes }, (error, result) => {
      if (!error) resolve(result)
      else if (error.code === 'ERR_BUFFER_TOO_LARGE')
        reject(new Problem('body_too_large', `the body decompresses to more than ${maxDecodedBytes} bytes`))
      else reject(new Problem('corrupt_encoding', `the body is no whole ${name} stream`, { cause: error }))
    })
  })
}

/** Problem malformed_json, invalid_utf8, empty_body, empty_batch or too_many_events. */
export function parseBody(body: Buffer, format: Format, maxEvents: number): ParsedBody {
  const text = textOf(body)
  const escapes = text.includes('\\u')
  if (format === 'ndjson') return { events: linesOf(text, maxEvents), single: false, escapes }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    if (text.trim() === '') throw new Problem('empty_body', 'the body is empty: send an event, or an array of them')
    throw new Problem('malformed_json', `the body is not JSON ${describeJsonFault(text)}`)
  }
  if (!Array.isArray(parsed)) return { events: [parsed], single: true, escapes }
  if (parsed.length === 0) throw new Problem('empty_batch', 'the array holds no event')
  if (parsed.length > maxEvents) throw tooMany(parsed.length, maxEvents)
  return { events: parsed, single: false, escapes }
}

function textOf(body: Buffer): string {
  // Which most are, and then their text is a copy of the bytes.
  if (isAscii(body)) return body.toString('latin1')
  if (!isUtf8(body)) throw new Problem('invalid_utf8', `the body is not UTF-8, from byte ${invalidAt(body)} on`)
  // A byte order mark means nothing in UTF-8, and JSON.parse would stumble over it.
  const start = body.length >= 3 && body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0
  return body.toString('utf8', start)
}

function linesOf(text: string, maxEvents: number): unknown[] {
  const events: unknown[] = []
  let number = 0
  for (const line of text.split('\n')) {
    number++
    if (line.trim() === '') continue
    if (events.length === maxEvents) throw tooMany(`more than ${maxEvents}`, maxEvents)
    try {
      events.push(JSON.parse(line))
    } catch {
      events.push(
        new Problem('malformed_json', `line ${number} is not JSON ${describeJsonFault(line).replace('line 1, ', '')}`),
      )
    }
  }
  if (events.length === 0) throw new Problem('empty_batch', 'the body holds no event')
  return events
}

const tooMany = (count: number | string, most: number) =>
  new Problem('too_many_events', `the batch has ${count} events; a request may have ${most}`)

/** Offset of the first byte that is not part of UTF-8: where decoding put a replacement that was not in the bytes. */
function invalidAt(body: Buffer): number {
  const text = body.toString('utf8')
  let from = 0
  let offset = 0
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', from)) {
    offset += Buffer.byteLength(text.slice(from, at))
    if (!(body[offset] === 0xef && body[offset + 1] === 0xbf && body[offset + 2] === 0xbd)) return offset
    offset += 3
    from = at + 1
  }
  return offset
}
