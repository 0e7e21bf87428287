import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { type Catalogue, type Events, parseKey, renderKey } from '@weft/schema'
import { bytes, HEADERS, header, type Message, WeftError } from '@weft/transport'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { interruption } from '../interrupt.ts'
import { note, printJson, progress } from '../output.ts'
import { existing } from '../span.ts'

const BATCH = 500

interface Options {
  readonly file?: string
  readonly records?: boolean
  readonly key?: string
  readonly dryRun?: boolean
}

export function produce(program: Command): void {
  program
    .command('produce')
    .summary('append records from JSON lines, checked by the schema')
    .description(
      'Appends one record for each line of JSON from standard input or a file. Lines are checked against the topic’s schema before anything of their batch is appended; the first wrong one ends the command.',
    )
    .argument('<topic>')
    .option('--file <path>', 'read this file and not standard input')
    .option('--records', 'lines are whole records as "weft tail --json" prints them: value, key, headers, time')
    .option('-k, --key <key>', 'the key of all; default: what the catalogue says')
    .option('--dry-run', 'check the lines and append nothing')
    .addHelpText(
      'after',
      `
Examples:
  echo '{"service_id":"me","metric_name":"up","labels":{},"metric_value":1,"timestamp":1795247901033}' | weft produce tracking.metrics.v1
  weft tail alerts.v1 --json | weft produce alerts.v1 --records --dry-run`,
    )
    .action(async (name: string, options: Options, command: Command) => {
      const { json, ...rest } = shared(command)
      await using connection = await connect(rest, { create: true })
      const { transport, catalogue } = connection
      using stop = interruption()
      if (catalogue.topics.has(name)) await transport.admin.ensure(catalogue.specs().filter(s => s.topic.name === name))
      const topic = await existing(transport, name, catalogue.topics.keys())
      let appended = 0
      using _shown = progress(() => `${appended} appended`, { quiet: !!json })
      let batch: Message[] = []
      const flush = async () => {
        if (!options.dryRun && batch.length) await transport.append(topic, batch)
        appended += batch.length
        batch = []
      }
      for await (const { text, number } of lines(options.file, stop.signal)) {
        try {
          batch.push(messageOf(catalogue, name, text, options))
        } catch (error) {
          // The lines before are right: what was said to be appended then is.
          await flush()
          const why = error instanceof Error ? error.message : String(error)
          throw new Exit(EXIT.failed, `line ${number}: ${why}; ${appended} before it were ${done(options)}`)
        }
        if (batch.length === BATCH) await flush()
      }
      await flush()
      if (json) await printJson({ topic: name, appended, dryRun: !!options.dryRun })
      else note(`${appended} ${done(options)}`)
      if (stop.asked()) throw new Exit(EXIT.interrupted, 'stopped before the end of the input')
    })
}

const done = ({ dryRun }: Options) => (dryRun ? 'right' : 'appended')

async function* lines(file: string | undefined, signal: AbortSignal) {
  const input = file === undefined ? process.stdin : createReadStream(file)
  let number = 0
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY, signal })) {
      if (signal.aborted) return
      number++
      if (text.trim()) yield { text, number }
    }
    if (input.errored) throw input.errored
  } finally {
    input.destroy()
  }
}

function messageOf(catalogue: Catalogue, topic: string, line: string, { records, key }: Options): Message {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch (error) {
    throw new WeftError('INVALID', `is not JSON (${(error as Error).message})`)
  }
  const record = records
    ? (parsed as { value?: unknown; key?: unknown; headers?: unknown; time?: unknown })
    : { value: parsed }
  if (records && (record === null || typeof record !== 'object' || !('value' in record)))
    throw new WeftError('INVALID', 'a record has a value, and may have key, headers and time')
  const { value } = record
  const definition = catalogue.topics.get(topic)
  const fields = value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {}
  const from =
    key ?? record.key ?? (definition && value !== null ? renderKey(parseKey(definition.key), fields) : undefined)
  const headers = Object.entries((record.headers ?? {}) as Record<string, unknown>).map(([name, each]) =>
    raw(name, String(each)),
  )
  if (!headers.some(([name]) => name === HEADERS.tenant) && typeof fields.store_id === 'string')
    headers.push(header(HEADERS.tenant, fields.store_id))
  const time = record.time === undefined ? Date.now() : timeOf(record.time)
  const start = { time, headers, ...(typeof from === 'string' && { key: raw('', from)[1] }) }
  if (value === null) return { ...start, value: null }
  if (!definition) return { ...start, value: bytes(typeof value === 'string' ? value : JSON.stringify(value)) }
  const codec = catalogue.codec(topic as keyof Events)
  return { ...start, value: codec.encode(value as Events[keyof Events]), schema: codec.schema }
}

/** `base64:…` as `tail` shows bytes that are no text. */
const raw = (name: string, shown: string) =>
  [name, shown.startsWith('base64:') ? new Uint8Array(Buffer.from(shown.slice(7), 'base64')) : bytes(shown)] as const

function timeOf(value: unknown): number {
  const time = typeof value === 'number' ? value : Date.parse(String(value))
  if (Number.isFinite(time)) return time
  throw new WeftError('INVALID', `time is ${JSON.stringify(value)}, expected ISO 8601 or epoch milliseconds`)
}
