import { DEAD_LETTER_BYTES, deadLetter } from '../dead-letters.ts'
import { processAll, type Source } from '../processing.ts'
import { Subscription } from '../subscription.ts'
import type {
  Handle,
  Lag,
  Position,
  Process,
  Received,
  Running,
  SubscribeOptions,
  Topic,
  TransactOptions,
} from '../transport.ts'
import type { Appender } from './appender.ts'
import { MAX_MESSAGE_BYTES } from './batch.ts'
import { type Claim, Member, type MemberOptions } from './groups.ts'
import { KEY } from './keys.ts'
import { appendedAt, fetch, offsetAt } from './reader.ts'
import type { Store } from './store.ts'
import { identityOf, type TopicEntry } from './topics.ts'
import { EmbeddedTransaction } from './transaction.ts'
import { partitionKey } from './watch.ts'

interface Input {
  readonly topic: Topic
  readonly entry: TopicEntry
}

export type Identity = Pick<MemberOptions, 'clientId' | 'sessionMs' | 'key'>

/** A member of a group at work on what it has claimed. */
class EmbeddedRunning implements Running {
  readonly done: Promise<void>
  readonly #store: Store
  readonly #member: Member
  readonly #inputs: readonly Input[]
  readonly #moved: ReadonlyMap<string, number>

  constructor(store: Store, member: Member, inputs: readonly Input[], moved: ReadonlyMap<string, number>) {
    this.#store = store
    this.#member = member
    this.#inputs = inputs
    this.#moved = moved
    this.done = member.done
  }

  async lag(): Promise<readonly Lag[]> {
    return [...this.#member.held.values()].flatMap(({ partition, claimedAt }) =>
      this.#inputs.map(({ topic, entry }) => {
        const position = this.#member.position(entry.id, partition)
        const { first, next } = this.#store.ends(entry.id, partition)
        const messages = next - Math.max(first, position)
        const oldest = messages > 0 ? appendedAt(this.#store, entry.id, partition, position) : undefined
        const movedAt = Math.max(claimedAt, this.#moved.get(`${entry.id}/${partition}`) ?? 0)
        return { topic, partition, messages, ms: oldest === undefined ? 0 : Math.max(0, Date.now() - oldest), movedAt }
      }),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#member.leave()
  }
}

export async function subscribe(
  store: Store,
  appender: Appender,
  input: Input,
  deadLetters: Topic,
  { group, mode = 'key-shared', from = 'earliest', maxUnacked = 1000, retry }: SubscribeOptions,
  identity: Identity,
  handle: Handle,
): Promise<Running> {
  const { entry } = input
  const moved = new Map<string, number>()
  const subscription = new Subscription(
    {
      mode,
      maxUnacked,
      retry,
      deadLetter: async (message, error, attempts) => {
        const letter = deadLetter(message, { cluster: store.cluster, group, attempts, error })
        const prepared = appender.prepare(deadLetters, [letter], { maxBytes: MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES })
        await appender.append(prepared)
      },
    },
    handle,
  )
  const options = { group, from, mode, ...identity }
  const member = await Member.join(store, [entry], options, (claim, self) => {
    const cursor = new Cursor(store, [input], self, claim)
    return subscription.serve({
      signal: claim.signal,
      next: () => cursor.next(),
      async commit(position: Position) {
        await store.committer.commit(transaction => {
          self.check(claim)
          transaction.putNumber(KEY.position(self.group, entry.id, claim.partition), offsetAt(position) + 1)
        })
        moved.set(`${entry.id}/${claim.partition}`, Date.now())
      },
    })
  })
  return new EmbeddedRunning(store, member, [input], moved)
}

export async function transact(
  store: Store,
  appender: Appender,
  inputs: readonly Input[],
  deadLetters: readonly Topic[],
  { group, from = 'earliest', commitEvery: { messages: maxCount = 1000, ms: maxMs = 0 } = {}, retry }: TransactOptions,
  identity: Identity,
  process: Process,
): Promise<Running> {
  const moved = new Map<string, number>()
  const policy = {
    retry,
    deadLetter: (message: Received, error: unknown, attempts: number) => {
      const input = inputs.findIndex(({ topic }) => identityOf(topic) === identityOf(message.topic))
      return {
        topic: deadLetters[input] as Topic,
        letter: deadLetter(message, { cluster: store.cluster, group, attempts, error }),
      }
    },
  }
  const options = { group, from, mode: 'key-shared' as const, ...identity }
  const entries = inputs.map(({ entry }) => entry)
  const member = await Member.join(store, entries, options, (claim, self) => {
    const cursor = new Cursor(store, inputs, self, claim, { maxCount, maxMs })
    const source: Source = {
      signal: claim.signal,
      next: () => cursor.next(),
      begin: batch =>
        new EmbeddedTransaction(store, appender, self, claim, cursor.behind(batch), () => {
          for (const { id } of entries) moved.set(`${id}/${claim.partition}`, Date.now())
        }),
    }
    return processAll(source, process, policy)
  })
  return new EmbeddedRunning(store, member, inputs, moved)
}

/** Reads what a claim's partition holds behind the group's positions. */
class Cursor {
  readonly #store: Store
  readonly #inputs: readonly Input[]
  readonly #claim: Claim
  readonly #maxCount: number
  /** So long it waits for that many, once there is one; 0: not at all. */
  readonly #maxMs: number
  readonly #offsets: number[]
  readonly #keys: readonly number[]

  constructor(
    store: Store,
    inputs: readonly Input[],
    member: Member,
    claim: Claim,
    { maxCount = 1000, maxMs = 0 } = {},
  ) {
    this.#store = store
    this.#inputs = inputs
    this.#claim = claim
    this.#maxCount = maxCount
    this.#maxMs = maxMs
    this.#keys = inputs.map(({ entry }) => partitionKey(entry.id, claim.partition))
    this.#offsets = inputs.map(({ entry }) =>
      Math.max(member.position(entry.id, claim.partition), store.ends(entry.id, claim.partition).first),
    )
  }

  async next(): Promise<readonly Received[] | undefined> {
    const { signal, partition } = this.#claim
    if (this.#maxMs > 0) await this.#gather(signal)
    while (!signal.aborted) {
      const found = this.#inputs.map(({ entry, topic }, i) =>
        fetch(this.#store, entry, topic, partition, this.#offsets[i] as number, { maxCount: this.#maxCount }),
      )
      const messages = this.#take(found)
      if (messages.length > 0) return messages
      await this.#store.watch.next(this.#keys, signal)
    }
    return undefined
  }

  /** Waits for the first message, and then for as many as are handed out together, or until its time is over. */
  async #gather(signal: AbortSignal): Promise<void> {
    for (let due = Number.POSITIVE_INFINITY; !signal.aborted; ) {
      const ahead = this.#ahead()
      const now = performance.now()
      if (ahead >= this.#maxCount || now >= due) return
      if (ahead > 0) due = Math.min(due, now + this.#maxMs)
      await this.#store.watch.next(this.#keys, signal, ahead > 0 ? due - now : undefined)
    }
  }

  /** Offsets between what was handed out and the ends: at least as many as there are messages. */
  #ahead(): number {
    return this.#inputs.reduce((sum, { entry }, i) => {
      const { next } = this.#store.ends(entry.id, this.#claim.partition)
      return sum + Math.max(0, next - (this.#offsets[i] as number))
    }, 0)
  }

  /** Of several topics, what the log took first comes first. */
  #take(found: readonly ({ messages: Received[]; next: number } | undefined)[]): Received[] {
    if (found.length === 1) {
      if (found[0]) this.#offsets[0] = found[0].next
      return found[0]?.messages ?? []
    }
    const merged = found
      .flatMap((batch, input) => batch?.messages.map(message => ({ message, input })) ?? [])
      .sort((a, b) => a.message.appendedAt - b.message.appendedAt)
      .slice(0, this.#maxCount)
    for (const { message, input } of merged) this.#offsets[input] = offsetAt(message.position) + 1
    return merged.map(({ message }) => message)
  }

  /** Per topic id, the offset behind the batch's last message. */
  behind(batch: readonly Received[]): ReadonlyMap<number, number> {
    const offsets = new Map<number, number>()
    for (const { topic, entry } of this.#inputs) {
      const last = batch.findLast(message => message.topic === topic)
      if (last) offsets.set(entry.id, offsetAt(last.position) + 1)
    }
    return offsets
  }
}
