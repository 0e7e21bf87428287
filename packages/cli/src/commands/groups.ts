import type { GroupLag } from '@weft/transport'
import type { Command } from 'commander'
import { connect, shared } from '../connect.ts'
import { printRows } from '../output.ts'
import { reset, unknownGroup } from './groups-reset.ts'

export function groups(program: Command): void {
  const listing = program
    .command('groups')
    .summary('list consumer groups with their lag, or reset one')
    .description('Lists the consumer groups of a log: how far each is behind, topic by topic, and who is at work.')
    .argument('[group]', 'one group, partition by partition')
    .option('--partitions', 'partition by partition for all groups')
    .addHelpText(
      'after',
      '\nExamples:\n  weft groups\n  weft groups weft.signal\n  weft groups --json | jq "select(.lag > 0)"',
    )
    .action(async (group: string | undefined, { partitions }: { partitions?: boolean }, command: Command) => {
      const { json, ...rest } = shared(command)
      await using connection = await connect(rest, { purpose: 'admin' })
      const all = await connection.transport.admin.groups()
      const lags = all.filter(lag => group === undefined || lag.group === group)
      if (group !== undefined && !lags.length) {
        throw await unknownGroup(group, all)
      }
      const each = partitions || group !== undefined
      const rows = each ? lags.map(({ topic, ...lag }) => ({ ...lag, topic: topic.name })) : summed(lags)
      const columns = each
        ? ['group', 'topic', 'partition', 'lag', 'member']
        : ['group', 'topic', 'partitions', 'lag', 'members']
      return printRows(rows, { json: !!json, columns, empty: 'no groups yet' })
    })
  reset(listing)
}

function summed(lags: readonly GroupLag[]) {
  const rows = new Map<
    string,
    { group: string; topic: string; partitions: number; lag: number; members: Set<string> }
  >()
  for (const { group, topic, lag, member } of lags) {
    const id = `${group}\n${topic.tenant ?? ''}\n${topic.name}`
    const row = rows.get(id) ?? { group, topic: topic.name, partitions: 0, lag: 0, members: new Set<string>() }
    row.partitions++
    row.lag += lag
    if (member !== undefined) row.members.add(member)
    rows.set(id, row)
  }
  return [...rows.values()].map(row => ({ ...row, members: row.members.size }))
}
