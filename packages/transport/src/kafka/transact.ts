import { randomUUID } from 'node:crypto'
import { deadLetter } from '../dead-letters.ts'
import { processAll, type Source } from '../processing.ts'
import { type Process, type Received, type Running, type TransactOptions, WeftError } from '../transport.ts'
import { type Cluster, nameOf, translated } from './cluster.ts'
import { Committer } from './committer.ts'
import { Cursor } from './cursor.ts'
import type { Compression } from './driver.ts'
import { Fetcher } from './fetcher.ts'
import type { Claim } from './holdings.ts'
import type { LocalState } from './local-state.ts'
import { changelogOf } from './names.ts'
import { positionsOf } from './positions.ts'
import { TransactionalProducer } from './producer.ts'
import { AHEAD_BYTES, nextOf, type Serve, type Sessions, started, startsOfGroup } from './running.ts'
import { Standby } from './standby.ts'
import type { TopicEntry, Topics } from './topics.ts'
import { ClaimedState, KafkaTransaction } from './transaction.ts'

export interface Transactions {
  readonly timeoutMs: number
  readonly compression: Compression
  /** How many members beside the owner keep a copy of each partition's state. */
  readonly standbys: number
}

/** See Transport.transact. */
export async function transact(
  cluster: Cluster,
  topics: Topics,
  state: LocalState,
  inputs: readonly TopicEntry[],
  deadLetters: readonly TopicEntry[],
  own: string,
  { group, from = 'earliest', commitEvery: { messages: maxCount = 1_000, ms: maxMs = 0 } = {}, retry }: TransactOptions,
  sessions: Sessions,
  transactions: Transactions,
  process: Process,
): Promise<Running> {
  const partitions = (inputs[0] as TopicEntry).partitions
  const changelog = changelogOf(own)
  const kept = await translated(cluster.partitions(changelog))
  if (kept !== undefined && kept !== partitions)
    throw new WeftError(
      'INVALID',
      `group "${group}" keeps its state in ${kept} partitions, and these topics have ${partitions}: it takes another group`,
    )
  const fetcher = new Fetcher(cluster, AHEAD_BYTES)
  const producer = new TransactionalProducer(cluster, `weft.${own}.${randomUUID()}`, transactions)
  let committer: Committer | undefined
  const policy = {
    retry,
    deadLetter: (message: Received, error: unknown, attempts: number) => ({
      topic: (deadLetters[inputs.findIndex(({ topic }) => topic === message.topic)] as TopicEntry).topic,
      letter: deadLetter(message, { cluster: cluster.id, group, attempts, error }),
    }),
  }

  const serve: Serve = async (claim, member, running) => {
    committer ??= new Committer(cluster, member, producer)
    const commits = committer
    await translated(takeOver(cluster, own, inputs, claim, producer.id))
    const starts = await translated(startsOfGroup(cluster, own, inputs, from, claim))
    const claimAs = (offsets: readonly { topic: string; partition: number; offset: bigint }[], metadata: string) =>
      member.commit(
        claim,
        offsets.map(place => ({ ...place, metadata })),
      )
    const { partition } = claim
    await claimAs(
      starts.map(({ name, offset }) => ({ topic: name, partition, offset })),
      `${producer.id}#0`,
    )
    const claimed = new ClaimedState(cluster, changelog, partitions, state.partition(cluster.id, own, partition), claim)
    await translated(claimed.restore(progress => running.restores(partition, progress)))
    const cursor = new Cursor(cluster, fetcher, partition, starts, { signal: claim.signal, maxCount, maxMs })
    running.cursors.set(partition, cursor)
    const source: Source = {
      signal: claim.signal,
      next: () =>
        nextOf(cursor, claim, async idle => {
          await claimAs(idle, `${producer.id}#0`)
          cursor.settle(idle)
        }),
      begin(batch) {
        const consumed = cursor.behind(batch)
        return new KafkaTransaction(topics, commits, claimed, claim, consumed, () => {
          cursor.settle(consumed)
          for (const place of consumed) running.moved.set(nameOf(place), Date.now())
        })
      },
    }
    try {
      await processAll(source, process_, policy)
      // Whoever comes next finds that nothing is left to be taken over, unless a commit's outcome is unknown.
      if (!claim.lost.aborted && !claimed.unknown) await claimAs(cursor.settled, '')
    } finally {
      cursor.close()
      running.cursors.delete(partition)
    }
  }
  const process_: Process = async (batch, transaction) => {
    await process(batch, transaction)
    await (transaction as KafkaTransaction).settle()
  }

  const names = inputs.map(({ name }) => name)
  const { standbys } = transactions
  const copyOf = (partition: number) => state.partition(cluster.id, own, partition)
  const standby = standbys > 0 ? new Standby(cluster, changelog, copyOf) : undefined
  const options = { group: own, topics: names, partitions, exclusive: false, standbys, standby, ...sessions }
  return started(cluster, inputs, from, options, serve, async () => {
    await Promise.all([fetcher[Symbol.asyncDispose](), standby?.[Symbol.asyncDispose]()])
  })
}

/**
 * Ends what the last owner of the partition left open, if it did not leave in order: whatever it still tries to commit
 * from now on is refused, and what it had committed is there to be seen.
 */
async function takeOver(
  cluster: Cluster,
  group: string,
  inputs: readonly TopicEntry[],
  { partition, signal }: Claim,
  own: string,
): Promise<void> {
  const places = inputs.map(({ name }) => ({ topic: name, partition }))
  const positions = await positionsOf(cluster, group, places, { stable: false, signal })
  const owners = new Set([...positions.values()].map(({ metadata }) => metadata.slice(0, metadata.lastIndexOf('#'))))
  for (const owner of owners)
    if (owner.startsWith('weft.') && owner !== own)
      await new TransactionalProducer(cluster, owner, { timeoutMs: 10_000, compression: 'none' }).begin({ signal })
}
