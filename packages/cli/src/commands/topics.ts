import type { Position, TopicSpec, Transport } from '@weft/transport'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { duration, print, printJson, printRows } from '../output.ts'
import { existing } from '../span.ts'
import { apply } from './topics-apply.ts'

export function topics(program: Command): void {
  const listing = program
    .command('topics')
    .summary('list the topics of a log, describe one, or compare them with the catalogue')
    .description('Lists the topics of a log with their records and settings, or describes one partition by partition.')
    .argument('[name]', 'a topic to describe')
    .addHelpText('after', '\nExamples:\n  weft topics\n  weft topics alerts.v1\n  weft topics --json | jq -r .topic')
    .action(async (name: string | undefined, _options, command: Command) => {
      const options = shared(command)
      await using connection = await connect(options, { purpose: 'admin' })
      const { transport, catalogue } = connection
      if (name === undefined) {
        const rows = await Promise.all((await transport.admin.topics()).map(spec => row(transport, spec)))
        rows.sort((a, b) => a.topic.localeCompare(b.topic))
        const columns = ['topic', 'tenant', 'partitions', 'records', 'retention', 'cleanup']
        const used = columns.filter(column => column !== 'tenant' || rows.some(each => each.tenant))
        return printRows(rows, { json: !!options.json, columns: used, empty: 'no topics yet' })
      }
      const topic = await existing(transport, name, catalogue.topics.keys())
      const { first, end } = await transport.admin.describe(topic)
      const partitions = end.map((last, index) => {
        const from = first[index] as Position
        return { partition: last.partition, first: from.at, end: last.at, records: between(from, last) }
      })
      const definition = catalogue.topics.get(name)
      if (options.json) {
        const { purpose, key, owner, compatibility, producers, consumers, schema } = definition ?? {}
        return printJson({ topic: name, purpose, key, owner, compatibility, producers, consumers, schema, partitions })
      }
      if (definition) {
        await print(`${name}: ${definition.purpose}`)
        await print(`key ${definition.key}, schema ${definition.schema.subject}@${definition.schema.version}`)
        await print(`produced by ${definition.producers.join(', ')}; consumed by ${definition.consumers.join(', ')}\n`)
      }
      return printRows(partitions, { json: false, columns: ['partition', 'first', 'end', 'records'], empty: 'none' })
    })
  apply(listing)
}

async function row(transport: Transport, { topic, partitions, retentionMs, retentionBytes, cleanup }: TopicSpec) {
  const { first, end } = await transport.admin.describe(topic)
  const counts = end.map((last, index) => between(first[index] as Position, last))
  const retention = [
    retentionMs && duration(retentionMs),
    retentionBytes && `${Math.round(retentionBytes / 2 ** 20)} MiB`,
  ]
  return {
    topic: topic.name,
    tenant: topic.tenant,
    partitions,
    records: counts.includes(undefined) ? undefined : counts.reduce<number>((sum, count) => sum + (count ?? 0), 0),
    retention: retention.filter(Boolean).join(', ') || undefined,
    cleanup: cleanup ?? 'delete',
  }
}

/** How many places lie between two, where they are numbers; compaction may have taken some of their records. */
function between(first: Position, end: Position): number | undefined {
  const count = Number(end.at) - Number(first.at)
  return Number.isFinite(count) ? count : undefined
}
