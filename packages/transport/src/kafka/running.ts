import { backoff, OUTAGE_MS, pause } from '../backoff.ts'
import { DEAD_LETTER_BYTES, deadLetter } from '../dead-letters.ts'
import { Subscription } from '../subscription.ts'
import {
  type From,
  type Handle,
  type Lag,
  type Position,
  type Received,
  type Restoring,
  type Running,
  type SubscribeOptions,
  WeftError,
} from '../transport.ts'
import type { Appender } from './appender.ts'
import { type Cluster, nameOf, translated } from './cluster.ts'
import { Cursor, type Settled, type Start } from './cursor.ts'
import { weftError } from './errors.ts'
import { Fetcher } from './fetcher.ts'
import { findIdsOrNot } from './framing.ts'
import type { Claim } from './holdings.ts'
import { Member, type MemberOptions } from './member.ts'
import { partsOf } from './parts.ts'
import { placed, positionsOf } from './positions.ts'
import { offsetsAt, startsOf } from './reader.ts'
import { MAX_MESSAGE_BYTES } from './record.ts'
import type { TopicEntry } from './topics.ts'

/** Bytes fetched ahead by a member over all its partitions. */
export const AHEAD_BYTES = 8 * 1024 * 1024

export type Sessions = Pick<MemberOptions, 'sessionMs' | 'rebalanceMs' | 'handoverMs'>

/** Works on a partition until its claim is to be given up. */
export type Serve = (claim: Claim, member: Member, running: KafkaRunning) => Promise<void>

/** A member at work on what it has claimed. */
export class KafkaRunning implements Running {
  readonly done: Promise<void>
  readonly cursors = new Map<number, Cursor>()
  readonly moved = new Map<string, number>()
  readonly #restoring = new Map<number, Restoring>()
  readonly #cluster: Cluster
  readonly #inputs: readonly TopicEntry[]
  readonly #member: Member
  readonly #end: () => Promise<void>
  #ending: Promise<void> | undefined

  constructor(
    cluster: Cluster,
    inputs: readonly TopicEntry[],
    options: MemberOptions,
    serve: Serve,
    end: () => Promise<void>,
  ) {
    this.#cluster = cluster
    this.#inputs = inputs
    this.#end = end
    this.#member = new Member(cluster, options, claim => serve(claim, this.#member, this))
    this.done = this.#member.done.finally(() => this[Symbol.asyncDispose]())
    this.done.catch(() => {})
  }

  /** How far a partition's state has been read; undefined when it is there. */
  restores(partition: number, progress: Restoring | undefined): void {
    if (progress) this.#restoring.set(partition, progress)
    else this.#restoring.delete(partition)
    for (const { name } of this.#inputs) this.moved.set(nameOf({ topic: name, partition }), Date.now())
  }

  lag(): Promise<readonly Lag[]> {
    return translated(this.#lag())
  }

  async #lag(): Promise<readonly Lag[]> {
    const claims = this.#member.held.toSorted((a, b) => a.partition - b.partition)
    const partitions = claims.map(({ partition }) => partition)
    const lags = await Promise.all(
      this.#inputs.map(async entry => {
        const [ends, firsts] = await Promise.all(
          [-1n, -2n].map(time => offsetsAt(this.#cluster, entry, partitions, time)),
        )
        return Promise.all(
          claims.map(async ({ partition, since }, i) => {
            const settled = this.cursors.get(partition)?.settled.find(({ topic }) => topic === entry.name)?.offset
            const [first, end] = [firsts?.[i] ?? 0n, ends?.[i] ?? 0n]
            const from = settled !== undefined && settled > first ? settled : first
            const messages = Math.max(0, Number(end - from))
            const oldest = messages > 0 ? await appendedAt(this.#cluster, entry, partition, from) : undefined
            const movedAt = Math.max(since, this.moved.get(nameOf({ topic: entry.name, partition })) ?? 0)
            const ms = oldest === undefined ? 0 : Math.max(0, Date.now() - oldest)
            const restoring = this.#restoring.get(partition)
            return { topic: entry.topic, partition, messages, ms, movedAt, ...(restoring && { restoring }) }
          }),
        )
      }),
    )
    return lags.flat()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#ending ??= this.#member.leave().finally(this.#end)
    return this.#ending
  }
}

/** When the log took the message at an offset or the next one after it. */
async function appendedAt(
  cluster: Cluster,
  { name, topic }: TopicEntry,
  partition: number,
  offset: bigint,
): Promise<number | undefined> {
  const place = { topic: name, partition }
  const [found] = await cluster.control.fetch(await cluster.leader(place), {
    places: [{ ...place, offset, maxBytes: 1 }],
    maxWaitMs: 0,
    maxBytes: 1,
  })
  const batch = found?.batches.find(({ last, control }) => last >= offset && !control)
  const record = batch?.records.find(each => each.offset >= offset)
  return topic && (batch?.appendedAt ?? (record && Number(record.timestamp)))
}

/** Where to start in the claimed partition of each input: where the group is, else `from`. */
export async function startsOfGroup(
  cluster: Cluster,
  group: string,
  inputs: readonly TopicEntry[],
  from: From,
  claim: Claim,
): Promise<Start[]> {
  const { partition, signal } = claim
  const places = inputs.map(({ name }) => ({ topic: name, partition }))
  const positions = await positionsOf(cluster, group, places, { signal })
  return Promise.all(
    inputs.map(async entry => {
      const position = positions.get(nameOf({ topic: entry.name, partition }))
      const offset = position?.offset ?? ((await startsOf(cluster, entry, [partition], from))[0] as bigint)
      return { topic: entry.topic, name: entry.name, offset }
    }),
  )
}

/** The cursor's next messages; on the way there the group's position follows behind what nobody sees. */
export async function nextOf(
  cursor: Cursor,
  { signal }: Claim,
  commit: (places: readonly Settled[]) => Promise<void>,
): Promise<readonly Received[] | undefined> {
  for (let failures = 0; ; ) {
    const messages = await cursor.next()
    if (!messages || messages.length > 0) return messages
    try {
      await commit(cursor.idle())
      failures = 0
    } catch (error) {
      if (!(error instanceof WeftError && error.retryable)) throw error
      if (!(await pause(backoff(++failures, { maxMs: OUTAGE_MS }), signal))) return undefined
    }
  }
}

/** Joins the group; resolves when it has a position everywhere. Leaves nothing behind if that fails. */
export async function started(
  cluster: Cluster,
  inputs: readonly TopicEntry[],
  from: From,
  options: MemberOptions,
  serve: Serve,
  end: () => Promise<void>,
): Promise<KafkaRunning> {
  let running: KafkaRunning | undefined
  try {
    const placing = await placed(cluster, options.group, inputs, from)
    running = new KafkaRunning(cluster, inputs, options, serve, end)
    await placing.wait(running.done)
    return running
  } catch (error) {
    // A member that nobody knows of would keep its partitions and do nothing.
    await (running ? running[Symbol.asyncDispose]() : end())
    throw weftError(error)
  }
}

export async function subscribe(
  cluster: Cluster,
  appender: Appender,
  entry: TopicEntry,
  deadLetters: TopicEntry,
  own: string,
  { group, mode = 'key-shared', from = 'earliest', maxUnacked = 1_000, retry }: SubscribeOptions,
  sessions: Sessions,
  handle: Handle,
): Promise<Running> {
  if (mode === 'exclusive') await refuseSecond(cluster, own)
  const fetcher = new Fetcher(cluster, AHEAD_BYTES)
  const subscription = new Subscription(
    {
      mode,
      maxUnacked,
      retry,
      deadLetter: async (message, error, attempts) => {
        const letter = deadLetter(message, { cluster: cluster.id, group, attempts, error })
        const { ids } = cluster
        await findIdsOrNot([letter], ids)
        const parts = partsOf(deadLetters, [letter], { maxBytes: MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES, ids })
        await Promise.all(parts.map(part => appender.append(part)))
      },
    },
    handle,
  )
  const serve: Serve = async (claim, member, running) => {
    const starts = await translated(startsOfGroup(cluster, own, [entry], from, claim))
    await member.commit(
      claim,
      starts.map(({ name, offset }) => ({ topic: name, partition: claim.partition, offset, metadata: '' })),
    )
    const cursor = new Cursor(cluster, fetcher, claim.partition, starts, { signal: claim.signal })
    running.cursors.set(claim.partition, cursor)
    const commit = async (places: readonly Settled[]) => {
      await member.commit(
        claim,
        places.map(place => ({ ...place, metadata: '' })),
      )
      cursor.settle(places)
    }
    try {
      await subscription.serve({
        signal: claim.signal,
        next: () => nextOf(cursor, claim, commit),
        async commit(position: Position) {
          await commit(cursor.behindPosition(entry.name, position))
          running.moved.set(nameOf({ topic: entry.name, partition: claim.partition }), Date.now())
        },
      })
    } finally {
      cursor.close()
      running.cursors.delete(claim.partition)
    }
  }
  const exclusive = mode === 'exclusive'
  const options = { group: own, topics: [entry.name], partitions: entry.partitions, exclusive, ...sessions }
  return started(cluster, [entry], from, options, serve, () => fetcher[Symbol.asyncDispose]())
}

async function refuseSecond(cluster: Cluster, group: string): Promise<void> {
  const [found] = await translated(
    cluster.coordinated('group', group, coordinator => cluster.control.describeGroups(coordinator, [group])),
  )
  if (found && found.members.length > 0)
    throw new WeftError('FENCED', `group "${group}" is exclusive, and another member has it`)
}
