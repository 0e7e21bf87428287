import { nearest } from '@weft/schema'
import { type TopicDifference, type TopicSpec, topicDifferences } from '@weft/transport'
import type { Command } from 'commander'
import { type Connection, connect, type Shared, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { duration, note, printRows } from '../output.ts'

/** `weft topics diff` and `weft topics apply`, beneath `weft topics`. */
export function apply(topics: Command): void {
  topics
    .command('diff')
    .summary('show in what the topics of a log are not as the catalogue says')
    .description(
      'Compares the topics of a log with the catalogue: which are missing, and what differs. Exit code 3 when anything does.',
    )
    .argument('[topics...]', 'default: all of the catalogue')
    .addHelpText(
      'after',
      '\nExamples:\n  weft topics diff --log kafka://localhost:9092\n  weft topics diff alerts.v1 --json',
    )
    .action(async (names: string[], _options, command: Command) => {
      const { json, ...rest } = shared(command)
      await using connection = await connect(rest, { purpose: 'admin' })
      const rows = (await differences(connection, names)).map(each => shown(each, 'weft topics apply'))
      await printRows(rows, { json: !!json, columns: COLUMNS, empty: 'all topics are as the catalogue says' })
      if (rows.length > 0) throw new Exit(EXIT.faults, counted(rows.length))
    })

  topics
    .command('apply')
    .summary('make the topics of a log what the catalogue says')
    .description(
      'Makes the topics of the catalogue that are missing and changes what differs, as far as that can be done in place. Exit code 3 when something is left.',
    )
    .argument('[topics...]', 'default: all of the catalogue')
    .option('--allow-loss', 'also what removes records, such as a shorter retention')
    .option('--dry-run', 'only say what would be done')
    .addHelpText('after', '\nExamples:\n  weft topics apply --dry-run\n  weft topics apply alerts.v1 --allow-loss')
    .action(async (names: string[], options: Options, command: Command) => {
      const { json, ...rest } = shared(command)
      const left = await applied(rest, names, options, !!json)
      if (left > 0) throw new Exit(EXIT.faults, `${counted(left)} left`)
    })
}

interface Options {
  readonly allowLoss?: boolean
  readonly dryRun?: boolean
}

async function applied(shared: Shared, names: readonly string[], options: Options, json: boolean): Promise<number> {
  const { allowLoss = false, dryRun = false } = options
  await using connection = await connect(shared, { create: true, purpose: 'admin' })
  const { admin } = connection.transport
  const found = await differences(connection, names)
  const fitting = found.filter(({ refusal, loss }) => refusal === undefined && (loss === undefined || allowLoss))
  if (!dryRun) {
    const missing = fitting.filter(({ field }) => field === 'topic')
    await admin.ensure(missing.map(({ spec }) => spec))
    const existing = new Map((await admin.topics()).map(spec => [spec.topic.name, spec]))
    const changes = Map.groupBy(
      fitting.filter(({ field }) => field !== 'topic'),
      ({ spec }) => spec.topic.name,
    )
    await admin.alter(
      [...changes].map(([name, some]) => {
        const { topic, partitions } = existing.get(name) as TopicSpec
        return { topic, partitions, ...Object.fromEntries(some.map(({ field, wanted }) => [field, wanted])) }
      }),
    )
  }
  const done = dryRun ? 'would be done' : 'done'
  const rows = found.map(each => shown(each, fitting.includes(each) ? done : 'left: it needs --allow-loss'))
  await printRows(rows, { json, columns: COLUMNS, empty: 'all topics are as the catalogue says' })
  if (!json && dryRun && fitting.length > 0) note('nothing was changed: without --dry-run it will be')
  return found.length - fitting.length
}

const counted = (count: number) => (count === 1 ? '1 difference' : `${count} differences`)

const COLUMNS = ['topic', 'field', 'is', 'wanted', 'how']

/** A topic that is missing, or one thing in which it differs. */
interface Found extends Omit<TopicDifference, 'field'> {
  readonly field: TopicDifference['field'] | 'topic'
  readonly spec: TopicSpec
}

async function differences({ transport, catalogue }: Connection, names: readonly string[]): Promise<Found[]> {
  for (const name of names)
    if (!catalogue.topics.has(name)) {
      const meant = nearest(name, catalogue.topics.keys())
      throw new Exit(EXIT.missing, `the catalogue has no topic "${name}"${meant ? `, did you mean "${meant}"?` : ''}`)
    }
  const existing = new Map((await transport.admin.topics()).map(spec => [spec.topic.name, spec]))
  return catalogue
    .specs()
    .filter(({ topic }) => names.length === 0 || names.includes(topic.name))
    .flatMap((spec): Found[] => {
      const there = existing.get(spec.topic.name)
      if (there) return topicDifferences(there, spec).map(each => ({ ...each, spec }))
      return [{ topic: spec.topic, field: 'topic', is: 'missing', wanted: `${spec.partitions} partitions`, spec }]
    })
}

function shown({ topic, field, is, wanted, loss, refusal }: Found, how: string) {
  const value = (each: number | string | undefined) =>
    field === 'retentionMs' && typeof each === 'number' ? duration(each) : (each ?? 'unset')
  const warned = loss === undefined ? how : `${how}; ${loss}`
  return {
    topic: topic.name,
    field,
    is: value(is),
    wanted: value(wanted),
    how: refusal ? `not in place: ${refusal}` : warned,
  }
}
