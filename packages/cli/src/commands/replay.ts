import { HEADERS, header, headerOf, type Message, type Received, type Topic } from '@weft/transport'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { EXIT, Exit } from '../exit.ts'
import { interruption } from '../interrupt.ts'
import { note, printJson, progress } from '../output.ts'
import { isTick } from '../records.ts'
import { endsAt, existing, PLACES, parsePlace, spanOf } from '../span.ts'

interface Options {
  readonly topic: string
  readonly from: string
  readonly to: string
  readonly into: string
  readonly key?: string
  readonly ticks: boolean
  readonly dryRun?: boolean
}

export function replay(program: Command): void {
  program
    .command('replay')
    .summary('append a stretch of a topic to another one')
    .description(
      'Appends the records of a stretch of one topic to another: the same bytes, keys, headers and event times, and where each came from in the header weft-origin.',
    )
    .requiredOption('--topic <topic>', 'where the records are')
    .requiredOption('--into <topic>', 'where they go; made like the first when it is missing')
    .option('--from <place>', `${PLACES}`, 'earliest')
    .option('--to <place>', 'the same; records up to there, those at the position included', 'latest')
    .option('-k, --key <key>', 'only records with this key')
    .option('--no-ticks', 'leave the ticks of the clock out')
    .option('--dry-run', 'count the records and append nothing')
    .addHelpText(
      'after',
      `
Examples:
  weft replay --topic events.raw.v1 --from 1h --into events.again.v1
  weft replay --topic alerts.v1 --from 0:10,1:4 --to 2026-11-21T08:00Z --into alerts.check --dry-run`,
    )
    .action(async (options: Options, command: Command) => {
      const { json, ...rest } = shared(command)
      if (options.topic === options.into)
        throw new Exit(EXIT.usage, 'a topic cannot be replayed into itself: choose another for --into')
      await using connection = await connect(rest)
      const { transport, catalogue } = connection
      using stop = interruption()
      const topic = await existing(transport, options.topic, catalogue.topics.keys())
      const into: Topic = { ...topic, name: options.into }
      const specs = await transport.admin.topics()
      const like = specs.find(spec => spec.topic.name === topic.name && spec.topic.tenant === topic.tenant)
      const target = specs.find(spec => spec.topic.name === into.name && spec.topic.tenant === into.tenant)
      if (!target && like && !options.dryRun) await transport.admin.ensure([{ ...like, topic: into }])
      // Keyless records keep their partition where both topics have as many.
      const samePlaces = !target || target.partitions === like?.partitions

      const ends = await endsAt(transport, topic, parsePlace(options.to))
      let read = 0
      let appended = 0
      using _shown = progress(() => `${read} read, ${appended} appended`, { quiet: !!json })
      for await (const batch of spanOf(transport, topic, {
        from: parsePlace(options.from),
        ends,
        signal: stop.signal,
      })) {
        read += batch.length
        const wanted = batch.filter(message => keep(message, options))
        if (!options.dryRun) {
          for (const [partition, messages] of byPartition(wanted)) {
            const again = messages.map(message => withOrigin(message, transport.cluster))
            await transport.append(into, again, samePlaces ? { partition } : {})
          }
        }
        appended += wanted.length
      }
      if (json) await printJson({ topic: topic.name, into: into.name, read, appended, dryRun: !!options.dryRun })
      else note(`${appended} of ${read} records ${options.dryRun ? 'would be appended' : 'appended'} to ${into.name}`)
      if (stop.asked()) throw new Exit(EXIT.interrupted, 'stopped before the end of the stretch')
    })
}

function keep(message: Received, { key, ticks }: Options): boolean {
  if (!ticks && isTick(message)) return false
  return key === undefined || (message.key !== undefined && Buffer.from(message.key).toString() === key)
}

function byPartition(messages: readonly Received[]): Map<number, Received[]> {
  return Map.groupBy(messages, ({ position }) => position.partition)
}

/** A record that names its origin already keeps it: it is the place that tells it from its copies. */
function withOrigin({ key, value, time, headers = [], schema, topic, position }: Received, cluster: string): Message {
  const origin = `${cluster}/${topic.name}/${position.partition}/${position.at}`
  const own = headerOf({ headers }, HEADERS.origin) === undefined ? [header(HEADERS.origin, origin)] : []
  return { value, time, headers: [...headers, ...own], ...(key && { key }), ...(schema && { schema }) }
}
