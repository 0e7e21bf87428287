import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import {
  discardDeadLetters,
  type Edit,
  type LetterSelection,
  listDeadLetters,
  retryDeadLetters,
  showDeadLetter,
} from '@weft/pipeline'
import type { Catalogue, DeadLetter, Events } from '@weft/schema'
import { type Command, Option } from 'commander'
import { type Connection, connect, type Shared, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { interruption } from '../interrupt.ts'
import { note, print, printJson, printRows, progress } from '../output.ts'
import { decode, readable } from '../records.ts'

interface Filters {
  readonly tenant?: string
  readonly topic?: string
  readonly code?: string
  readonly state?: 'open' | 'retried' | 'discarded' | 'any'
  readonly all?: boolean
  readonly value?: string
}

const filtered = (command: Command) =>
  command
    .option('-t, --tenant <tenant>', 'only those of this tenant')
    .option('--topic <topic>', 'only those read from this topic')
    .option('--code <code>', 'only those with this error code')

export function dlq(program: Command): void {
  const group = program
    .command('dlq')
    .summary('list, show, retry and discard dead letters')
    .description('Works on events.dlq.v1: records that could not be processed, with all that a repair needs.')

  filtered(group.command('list').summary('list dead letters'))
    .addOption(new Option('--state <state>').choices(['open', 'retried', 'discarded', 'any']).default('open'))
    .addHelpText('after', '\nExamples:\n  weft dlq list\n  weft dlq list --tenant aurora --state any --json')
    .action(async (filters: Filters, command: Command) => {
      const options = shared(command)
      await using connection = await connect(options)
      const filed = await listDeadLetters(connection.transport, connection.catalogue, filters)
      const rows = filed.map(({ letter, state }) => ({
        id: letter.dead_letter_id,
        failed: new Date(letter.failed_at).toISOString(),
        tenant: letter.store_id,
        topic: letter.original_topic,
        code: letter.error_code,
        reason:
          options.json || letter.error_reason.length < 80
            ? letter.error_reason
            : `${letter.error_reason.slice(0, 79)}…`,
        attempts: letter.attempts,
        state,
      }))
      const columns = [
        'id',
        'failed',
        'tenant',
        'topic',
        'code',
        'reason',
        ...(filters.state === 'open' ? [] : ['state']),
      ]
      return printRows(rows, { json: !!options.json, columns, empty: 'no dead letters' })
    })

  group
    .command('show')
    .summary('show one dead letter and the record it was made of')
    .argument('<id>')
    .addHelpText('after', '\nExamples:\n  weft dlq show 5f0c…\n  weft dlq show 5f0c… --json | jq .value')
    .action(async (id: string, _options, command: Command) => {
      const options = shared(command)
      await using connection = await connect(options)
      const { letter, state } = await showDeadLetter(connection.transport, connection.catalogue, id)
      const shown = { ...letter, ...original(connection.catalogue, letter), state }
      await (options.json ? printJson(shown) : print(describe(shown)))
    })

  filtered(group.command('retry').summary('put records back to the topic they came from'))
    .argument('[ids...]', 'dead letters; or use --all')
    .option('--all', 'all open ones that the filters leave')
    .option('--value <file>', 'JSON of the repaired value, for one dead letter; - reads standard input')
    .addHelpText(
      'after',
      `
Examples:
  weft dlq retry 5f0c…
  weft dlq retry --all --code SCHEMA --tenant aurora
  weft dlq show 5f0c… --json | jq '.value.type="page_view" | .value' | weft dlq retry 5f0c… --value -`,
    )
    .action((ids: string[], filters: Filters, command: Command) => settle('retried', ids, filters, shared(command)))

  filtered(group.command('discard').summary('mark dead letters as not to be repaired'))
    .argument('[ids...]', 'dead letters; or use --all')
    .option('--all', 'all open ones that the filters leave')
    .addHelpText('after', '\nExamples:\n  weft dlq discard 5f0c…\n  weft dlq discard --all --topic events.raw.v1')
    .action((ids: string[], filters: Filters, command: Command) => settle('discarded', ids, filters, shared(command)))
}

async function settle(what: 'retried' | 'discarded', ids: string[], filters: Filters, options: Shared): Promise<void> {
  const { json, ...rest } = options
  if (!ids.length === !filters.all) throw new Exit(EXIT.usage, 'name dead letters by their ids, or give --all')
  if (filters.value !== undefined && ids.length !== 1)
    throw new Exit(EXIT.usage, '--value repairs one dead letter: name its id')
  await using connection = await connect(rest)
  const { transport, catalogue } = connection
  using stop = interruption()
  const { tenant, topic, code } = filters
  const selection: LetterSelection = {
    signal: stop.signal,
    ...(ids.length && { ids }),
    ...(tenant && { tenant }),
    ...(topic && { topic }),
    ...(code && { code }),
  }
  const edit = filters.value === undefined ? undefined : await repaired(connection, ids[0] as string, filters.value)
  const letters =
    what === 'retried'
      ? retryDeadLetters(transport, catalogue, selection, () => edit ?? {})
      : discardDeadLetters(transport, catalogue, selection)
  const settled = new Set<string>()
  using _shown = progress(() => `${settled.size} ${what}`, { quiet: !!json })
  for await (const letter of letters) {
    settled.add(letter.dead_letter_id)
    if (json) await printJson({ id: letter.dead_letter_id, state: what })
    if (stop.signal.aborted) break
  }
  const missing = ids.filter(id => !settled.has(id))
  if (!json) note(`${settled.size} ${what}`)
  if (missing.length && !stop.asked())
    throw new Exit(
      EXIT.missing,
      `no open dead letter with the id ${missing.join(', ')}: "weft dlq list" shows which are`,
    )
  if (stop.asked()) throw new Exit(EXIT.interrupted, 'stopped before the end; what was done stays done')
}

async function repaired({ transport, catalogue }: Connection, id: string, file: string): Promise<Edit> {
  const { letter } = await showDeadLetter(transport, catalogue, id)
  const json = file === '-' ? await readAll(process.stdin) : await readFile(file, 'utf8')
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (error) {
    throw new Exit(EXIT.usage, `the repaired value is not JSON: ${(error as Error).message}`)
  }
  const topic = letter.original_topic
  if (!catalogue.topics.has(topic)) return { value: Buffer.from(JSON.stringify(value)) }
  const codec = catalogue.codec(topic as keyof Events)
  return { value: codec.encode(value as Events[keyof Events]), schema: codec.schema }
}

/** The record it was made of, readable as far as it can be. */
function original(catalogue: Catalogue, letter: DeadLetter) {
  const key = letter.original_key && readable(letter.original_key)
  const headers = Object.fromEntries(letter.original_headers.map(({ name, value }) => [name, readable(value)]))
  const { original_value: bytes, original_schema: written } = letter
  let value: unknown = null
  if (bytes) {
    const [, subject, version] = /^(.*)[@/](\d+)$/.exec(written ?? '') ?? []
    const schema = subject ? { subject, version: Number(version) } : undefined
    try {
      const topic = { name: letter.original_topic }
      value = decode(catalogue, { value: bytes, time: letter.original_time, topic, ...(schema && { schema }) })
    } catch {
      value = readable(bytes)
    }
  }
  return { key, headers, value }
}

function describe(shown: ReturnType<typeof original> & DeadLetter & { state: string }): string {
  const lines: [string, unknown][] = [
    ['id', shown.dead_letter_id],
    ['state', shown.state],
    ['tenant', shown.store_id],
    ['failed', `${new Date(shown.failed_at).toISOString()} in ${shown.consumer}, after ${shown.attempts} attempts`],
    ['error', `${shown.error_code}: ${shown.error_reason}`],
    ['read from', `${shown.original_topic} ${shown.original_partition}:${shown.original_position}`],
    ['key', shown.key ?? '(none)'],
    ['headers', JSON.stringify(shown.headers)],
    ['value', JSON.stringify(shown.value, null, 2)],
  ]
  return lines.map(([name, value]) => `${name.padEnd(10)}${value}`).join('\n')
}
