import { styleText } from 'node:util'
import { HEADERS, headerOf, type Received, text } from '@weft/transport'
import { type Command, InvalidArgumentError } from 'commander'
import { connect, shared } from '../connect.ts'
import { interruption } from '../interrupt.ts'
import { print, printJson } from '../output.ts'
import { isTick, type Shown, show } from '../records.ts'
import { endsAt, existing, PLACES, parsePlace, partitionsOf, spanOf } from '../span.ts'

interface Options {
  readonly key?: string
  readonly from?: string
  readonly follow?: boolean
  readonly limit?: number
  readonly tenant?: string
  readonly ticks?: boolean
}

export const positive = (value: string): number => {
  const number = Number(value)
  if (!Number.isSafeInteger(number) || number < 1) throw new InvalidArgumentError('Expected a whole number from 1 on.')
  return number
}

export function tail(program: Command): void {
  program
    .command('tail')
    .summary('show the records of a topic, decoded')
    .description(
      'Shows the records of a topic, decoded with the schema they were written with, in order per partition.',
    )
    .argument('<topic>')
    .option('-k, --key <key>', 'only records with this key')
    .option('--from <place>', `where to begin: ${PLACES}; default: earliest, with --follow latest`)
    .option('-f, --follow', 'wait for more until Ctrl-C')
    .option('-n, --limit <count>', 'stop after so many records', positive)
    .option('-t, --tenant <tenant>', 'only records of this tenant')
    .option('--ticks', 'show the ticks of the clock, too')
    .addHelpText(
      'after',
      `
Examples:
  weft tail alerts.v1 --follow
  weft tail events.raw.v1 --key aurora:shopper-17 --limit 20
  weft tail signals.scores.v1 --from 10m --json | jq .value.score
  weft tail events.raw.v1 --from 3:1500 -n 1`,
    )
    .action(async (name: string, options: Options, command: Command) => {
      const { json, ...rest } = shared(command)
      await using connection = await connect(rest)
      using stop = interruption()
      const { transport, catalogue } = connection
      const topic = await existing(transport, name, catalogue.topics.keys())
      const from = parsePlace(options.from ?? (options.follow ? 'latest' : 'earliest'))
      const partitions = partitionsOf(from)
      const batches = options.follow
        ? transport.read(topic, { from, signal: stop.signal, ...(partitions && { partitions }) })
        : spanOf(transport, topic, { from, ends: await endsAt(transport, topic, 'latest'), signal: stop.signal })
      let left = options.limit ?? Number.POSITIVE_INFINITY
      for await (const batch of batches) {
        for (const message of batch) {
          if (stop.signal.aborted) return
          if (!wanted(message, options)) continue
          const shown = show(catalogue, message)
          await (json ? printJson(shown) : print(line(shown)))
          if (--left === 0) return
        }
      }
    })
}

function wanted(message: Received, { key, tenant, ticks }: Options): boolean {
  if (!ticks && isTick(message)) return false
  if (key !== undefined && (!message.key || text(message.key) !== key)) return false
  return tenant === undefined || headerOf(message, HEADERS.tenant) === tenant
}

function line({ time, partition, at, key, value }: Shown): string {
  const place = styleText('gray', `${time} ${partition}:${at}`)
  const shown = value === null ? styleText('gray', '(tombstone)') : JSON.stringify(value)
  return `${place} ${styleText('cyan', key ?? '-')} ${shown}`
}
