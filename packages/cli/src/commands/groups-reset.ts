import { type From, type Reset, type Topic, type Transport, WeftError } from '@weft/transport'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { note, printRows } from '../output.ts'
import { PLACES, parsePlace, partitionsOf } from '../span.ts'

interface Options {
  readonly to: string
  readonly topic?: readonly string[]
  readonly dryRun?: boolean
  readonly keepState?: boolean
}

/** `weft groups reset`, beneath `weft groups`. */
export function reset(groups: Command): void {
  groups
    .command('reset')
    .summary('put a group elsewhere in its topics')
    .description(
      'Puts a group where a reader from there would start, in all its topics or in those that are named. Its members have to be stopped first.',
    )
    .argument('<group>')
    .requiredOption('--to <place>', `where to: ${PLACES}; of positions, after which, and only their partitions`)
    .option('--topic <topics...>', 'only these; default: all that the group has read')
    .option('--keep-state', 'also a group that keeps state, which stays as it is and counts again what is read again')
    .option('--dry-run', 'only say what would be done')
    .addHelpText(
      'after',
      `
Examples:
  weft groups reset exports --to earliest --dry-run
  weft groups reset exports --to 2026-11-21T07:00Z --topic alerts.v1
  weft groups reset exports --to 3:1500 --topic alerts.v1`,
    )
    .action(async (group: string, options: Options, command: Command) => {
      const { json, ...rest } = shared(command)
      const to = parsePlace(options.to)
      await using connection = await connect(rest, { purpose: 'admin' })
      const { transport } = connection
      const topics = await topicsOf(transport, group, options.topic)
      if (partitionsOf(to) && topics.length > 1)
        throw new Exit(
          EXIT.usage,
          `group "${group}" reads ${namesOf(topics)}: say with --topic whose positions these are`,
        )
      const stateful = (await move(transport, group, topics, to, true)).some(each => each.reset.stateful)
      if (stateful && !options.keepState)
        throw new Exit(
          EXIT.failed,
          `group "${group}" keeps state, in which what it reads again would count twice: a group of another name begins without; --keep-state moves this one all the same`,
        )
      const moves = await move(transport, group, topics, to, !!options.dryRun)
      const rows = moves.flatMap(({ topic, reset }) =>
        reset.moved.map(({ was, now }) => ({
          group,
          topic: topic.name,
          partition: now.partition,
          was: was?.at ?? null,
          now: now.at,
          ...(json && { dryRun: !!options.dryRun }),
        })),
      )
      const columns = ['group', 'topic', 'partition', 'was', 'now']
      await printRows(rows, { json: !!json, columns, empty: 'nothing to move' })
      if (!json && options.dryRun) note('nothing was changed: without --dry-run it will be')
    })
}

const namesOf = (topics: readonly Topic[]) => topics.map(({ name }) => name).join(', ')

/** The topics that are named, or else all in which the group has a position. */
async function topicsOf(
  { admin }: Transport,
  group: string,
  named: readonly string[] | undefined,
): Promise<readonly Topic[]> {
  const lags = await admin.groups()
  const own = lags.filter(lag => lag.group === group)
  if (own.length === 0) throw await unknownGroup(group, lags)
  const topics = [...new Map(own.map(({ topic }) => [JSON.stringify(topic), topic])).values()]
  const missing = named?.find(name => !topics.some(topic => topic.name === name))
  if (missing !== undefined)
    throw new WeftError(
      'NOT_FOUND',
      `group "${group}" never had a position in "${missing}", it has in ${namesOf(topics)}`,
    )
  return topics.filter(({ name }) => named?.includes(name) ?? true)
}

export async function unknownGroup(group: string, lags: Iterable<{ readonly group: string }>): Promise<Exit> {
  const { nearest } = await import('@weft/schema')
  const meant = nearest(group, new Set([...lags].map(lag => lag.group)))
  return new Exit(EXIT.missing, `there is no group "${group}"${meant ? `, did you mean "${meant}"?` : ''}`)
}

async function move(
  { admin }: Transport,
  group: string,
  topics: readonly Topic[],
  to: From,
  dryRun: boolean,
): Promise<{ readonly topic: Topic; readonly reset: Reset }[]> {
  const partitions = partitionsOf(to)
  const moves: { topic: Topic; reset: Reset }[] = []
  try {
    for (const topic of topics)
      moves.push({ topic, reset: await admin.reset(group, topic, to, { dryRun, ...(partitions && { partitions }) }) })
  } catch (error) {
    // That somebody is at work is no mistake of the command line.
    throw error instanceof WeftError ? new Exit(EXIT.failed, error.message, { cause: error }) : error
  }
  return moves
}
