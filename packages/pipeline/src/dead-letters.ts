import type { Catalogue, DeadLetter } from '@weft/schema'
import {
  HEADERS,
  type Header,
  header,
  headerOf,
  type Received,
  type SchemaRef,
  type Transport,
  WeftError,
} from '@weft/transport'

const TOPIC = { name: 'events.dlq.v1' }
/** On what was put back: the dead letter that it was. */
export const RETRY_HEADER = 'weft-retry-of'

export type LetterState = 'open' | 'retried' | 'discarded'

export interface FiledLetter {
  readonly letter: DeadLetter
  readonly state: LetterState
}

export interface LetterSelection {
  readonly ids?: readonly string[]
  readonly tenant?: string
  /** The topic that the record was read from. */
  readonly topic?: string
  readonly code?: string
  /** Default: open. */
  readonly state?: LetterState | 'any'
  readonly signal?: AbortSignal
}

export interface Edit {
  readonly value?: Uint8Array | null
  readonly key?: Uint8Array
  /** What the new value is encoded with; the original's if absent. */
  readonly schema?: SchemaRef
}

/** The dead letters of a selection, in the order in which they failed. Reads the topic as it is now, to its end. */
export async function listDeadLetters(
  transport: Transport,
  catalogue: Catalogue,
  { ids, tenant, topic, code, state = 'open', signal }: LetterSelection = {},
): Promise<FiledLetter[]> {
  const codec = catalogue.codec('events.dlq.v1')
  const wanted = ids && new Set(ids)
  const filed = new Map<string, FiledLetter>()
  for await (const message of untilEnd(transport, signal)) {
    const letter = codec.decode(message)
    const id = letter.dead_letter_id
    if (wanted && !wanted.has(id)) continue
    if (tenant !== undefined && letter.store_id !== tenant) continue
    if (topic !== undefined && letter.original_topic !== topic) continue
    if (code !== undefined && letter.error_code !== code) continue
    const outcome = headerOf(message, HEADERS.outcome) as LetterState | undefined
    const before = filed.get(id)
    // The first outcome counts: a letter that was put back can't be discarded any more.
    if (!before || before.state === 'open')
      filed.set(id, { letter: before?.letter ?? letter, state: outcome ?? 'open' })
  }
  return [...filed.values()]
    .filter(each => state === 'any' || each.state === state)
    .sort((a, b) => a.letter.failed_at - b.letter.failed_at)
}

/** One dead letter, whatever became of it. NOT_FOUND if there is none of that id. */
export async function showDeadLetter(transport: Transport, catalogue: Catalogue, id: string): Promise<FiledLetter> {
  const [found] = await listDeadLetters(transport, catalogue, { ids: [id], state: 'any' })
  if (!found) throw new WeftError('NOT_FOUND', `there is no dead letter ${id}: list them for those there are`)
  return found
}

/**
 * Puts what open dead letters were made of back to the topic they came from, byte for byte unless `edit` changes it, each
 * once however often it is asked for, and marks them. Yields each when it is done. Letters without a body stay open unless
 * `edit` gives them one: INVALID names them, after the others are done.
 */
export async function* retryDeadLetters(
  transport: Transport,
  catalogue: Catalogue,
  selection: LetterSelection,
  edit: (letter: DeadLetter) => Edit = () => ({}),
): AsyncGenerator<DeadLetter> {
  const bodiless: string[] = []
  for (const { letter } of await listDeadLetters(transport, catalogue, { ...selection, state: 'open' })) {
    const changed = edit(letter)
    const value = changed.value === undefined ? letter.original_value : changed.value
    if (value === null && changed.value === undefined) {
      bodiless.push(letter.dead_letter_id)
      continue
    }
    const key = changed.key ?? letter.original_key
    const schema = changed.schema ?? schemaOf(letter)
    const headers: Header[] = letter.original_headers.map(({ name, value }) => [name, value])
    headers.push(header(RETRY_HEADER, letter.dead_letter_id))
    const message = {
      ...(key && { key }),
      value,
      time: letter.original_time,
      headers,
      ...(schema && { schema }),
    }
    // A writer of the letter's own: if we die before it is marked, the next try appends nothing.
    await using writer = await transport.writer(`dlq-${letter.dead_letter_id}`)
    await writer.append({ name: letter.original_topic }, [{ sequence: 1n, message }])
    await mark(transport, catalogue, letter, 'retried')
    yield letter
  }
  if (bodiless.length > 0) {
    throw new WeftError('INVALID', `these have no body to put back, give them one: ${bodiless.join(', ')}`)
  }
}

/** Marks open dead letters as not to be repaired. Yields each when it is done. */
export async function* discardDeadLetters(
  transport: Transport,
  catalogue: Catalogue,
  selection: LetterSelection,
): AsyncGenerator<DeadLetter> {
  for (const { letter } of await listDeadLetters(transport, catalogue, { ...selection, state: 'open' })) {
    await mark(transport, catalogue, letter, 'discarded')
    yield letter
  }
}

/** The letter's record again, with its outcome in a header: it follows the first in the same partition. */
async function mark(
  transport: Transport,
  catalogue: Catalogue,
  letter: DeadLetter,
  outcome: LetterState,
): Promise<void> {
  const headers = [header(HEADERS.tenant, letter.store_id), header(HEADERS.outcome, outcome)]
  await transport.append(TOPIC, [catalogue.codec('events.dlq.v1').message(letter, { time: Date.now(), headers })])
}

function schemaOf({ original_schema }: DeadLetter): SchemaRef | undefined {
  const slash = original_schema?.lastIndexOf('/') ?? -1
  return original_schema && slash > 0
    ? { subject: original_schema.slice(0, slash), version: Number(original_schema.slice(slash + 1)) }
    : undefined
}

async function* untilEnd(transport: Transport, signal?: AbortSignal): AsyncGenerator<Received> {
  const { end } = await transport.admin.describe(TOPIC)
  for await (const batch of transport.read(TOPIC, { from: 'earliest', to: end, ...(signal && { signal }) }))
    yield* batch
  signal?.throwIfAborted()
}
