import { backoff, OUTAGE_MS, pause } from '../backoff.ts'
import { DEAD_LETTER_BYTES } from '../dead-letters.ts'
import type { OpenTransaction } from '../processing.ts'
import { type AppendOptions, type Message, type Restoring, type Topic, WeftError } from '../transport.ts'
import { restore } from './changelog.ts'
import { type Cluster, nameOf, translated } from './cluster.ts'
import type { Committer } from './committer.ts'
import type { Settled } from './cursor.ts'
import { weftError } from './errors.ts'
import { findIds, findIdsOrNot, lacksId } from './framing.ts'
import type { Claim } from './holdings.ts'
import { type PartitionState, stateKey } from './local-state.ts'
import { partsOf } from './parts.ts'
import { type Output, UnknownOutcome } from './producer.ts'
import { MAX_MESSAGE_BYTES, recordOf } from './record.ts'
import { configsOf, createTopics, type Topics } from './topics.ts'

/** The state of one claimed partition and the changelog behind it. */
export class ClaimedState {
  readonly changelog: string
  readonly local: PartitionState
  readonly #cluster: Cluster
  readonly #partitions: number
  readonly #claim: Claim
  /** Where in the changelog the local state is. */
  at: bigint | undefined
  /** Whether a transaction was committed could not be found out: the group may be further on than it seems from here. */
  unknown = false

  constructor(cluster: Cluster, changelog: string, partitions: number, local: PartitionState, claim: Claim) {
    this.#cluster = cluster
    this.changelog = changelog
    this.#partitions = partitions
    this.local = local
    this.#claim = claim
  }

  async restore(progress?: (restoring: Restoring | undefined) => void): Promise<void> {
    const place = { topic: this.changelog, partition: this.#claim.partition }
    const since = Date.now()
    try {
      await restore(this.#cluster, place, this.local, this.#claim.signal, (done, of) => progress?.({ done, of, since }))
      this.at = this.local.reflected?.offset
    } finally {
      progress?.(undefined)
    }
  }

  /** Makes the changelog if this is the first state that the group keeps. */
  async prepare(): Promise<void> {
    if (this.#cluster.known(this.changelog) !== undefined) return
    if ((await this.#cluster.partitions(this.changelog)) !== undefined) return
    const configs = { ...configsOf({ cleanup: 'compact' }), 'segment.bytes': String(64 * 1024 * 1024) }
    await createTopics(this.#cluster, [{ name: this.changelog, partitions: this.#partitions, configs }])
  }
}

/**
 * One batch's outputs, state and positions, gathered here and sent when it commits. State is read from the local copy
 * under what the transaction itself has set: a partition has one owner, whose transactions follow each other.
 */
export class KafkaTransaction implements OpenTransaction {
  readonly partition: number
  readonly signal: AbortSignal
  readonly #topics: Topics
  readonly #committer: Committer
  readonly #state: ClaimedState
  readonly #claim: Claim
  readonly #consumed: readonly Settled[]
  readonly #committed: () => void
  #outputs: Output[] = []
  /** In the order of the calls: appends to topics that had to be asked for first, and those after them. */
  #pending: { topic: Topic; messages: readonly Message[]; options: AppendOptions & { maxBytes?: number } }[] = []
  #changes = new Map<string, Uint8Array | undefined>()
  #open = true

  constructor(
    topics: Topics,
    committer: Committer,
    state: ClaimedState,
    claim: Claim,
    consumed: readonly Settled[],
    committed: () => void,
  ) {
    this.#topics = topics
    this.#committer = committer
    this.#state = state
    this.#claim = claim
    this.#consumed = consumed
    this.#committed = committed
    this.partition = claim.partition
    this.signal = claim.signal
  }

  append(topic: Topic, messages: readonly Message[], options: AppendOptions = {}): void {
    this.#check()
    if (messages.length > 0) this.#append(topic, messages, options)
  }

  bury(topic: Topic, letter: Message): void {
    this.#append(topic, [letter], { maxBytes: MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES })
  }

  #append(topic: Topic, messages: readonly Message[], options: AppendOptions & { maxBytes?: number }): void {
    const { ids } = this.#topics
    const entry = this.#topics.known(topic)
    if (entry && this.#pending.length === 0 && !messages.some(message => lacksId(message, ids)))
      this.#outputs.push(...partsOf(entry, messages, { ...options, ids }))
    else this.#pending.push({ topic, messages, options })
  }

  /**
   * Finds the topics and the schemas' ids that were not known when they were appended to. NOT_FOUND and SCHEMA, as the
   * fault of whoever appended; a broker or a registry that is away, or was not given a schema in time, is nobody's, and
   * waited for: no message becomes a dead letter by that.
   */
  async settle(): Promise<void> {
    const { ids } = this.#topics
    for (const { topic, messages, options } of this.#pending.splice(0)) {
      const entry = await this.#patiently(() => this.#topics.resolve(topic))
      await this.#patiently(() =>
        options.maxBytes === undefined ? findIds(messages, ids) : findIdsOrNot(messages, ids),
      )
      this.#outputs.push(...partsOf(entry, messages, { ...options, ids }))
    }
  }

  async #patiently<T>(ask: () => Promise<T> | T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await ask()
      } catch (error) {
        const reason = weftError(error)
        if (!(reason instanceof WeftError && reason.retryable)) throw reason
        if (!(await pause(backoff(attempt, { maxMs: OUTAGE_MS }), this.signal))) throw reason
      }
    }
  }

  get(store: string, key: Uint8Array): Uint8Array | undefined {
    this.#check()
    const at = stateKey(store, key)
    const name = at.toString('latin1')
    const own = this.#changes.get(name)
    if (own !== undefined || this.#changes.has(name)) return own
    return this.#state.local.get(at)
  }

  set(store: string, key: Uint8Array, value: Uint8Array | undefined): void {
    this.#check()
    const at = stateKey(store, key)
    if (value && at.length + value.length > MAX_MESSAGE_BYTES)
      throw new WeftError(
        'TOO_LARGE',
        `a state value has ${value.length} bytes: at most ${MAX_MESSAGE_BYTES}, with its key`,
      )
    this.#changes.set(at.toString('latin1'), value && new Uint8Array(value))
  }

  *range(store: string, from: Uint8Array, to: Uint8Array): Generator<readonly [Uint8Array, Uint8Array]> {
    this.#check()
    const [start, end] = [stateKey(store, from), stateKey(store, to)]
    const prefix = start.length - from.length
    if (Buffer.compare(start, end) >= 0) return
    const [low, high] = [start.toString('latin1'), end.toString('latin1')]
    const own = [...this.#changes].filter(([name]) => name >= low && name < high).sort(([a], [b]) => (a < b ? -1 : 1))
    let next = 0
    for (const [key, value] of this.#state.local.range(start, end)) {
      const name = key.toString('latin1')
      for (; next < own.length && (own[next] as [string, unknown])[0] < name; next++) yield* pair(own[next], prefix)
      if (own[next]?.[0] === name) yield* pair(own[next++], prefix)
      else yield [key.subarray(prefix), value]
    }
    for (; next < own.length; next++) yield* pair(own[next], prefix)
  }

  async commit(): Promise<void> {
    this.#check()
    this.#open = false
    await this.settle()
    const { changelog } = this.#state
    const outputs = [...this.#outputs]
    if (this.#changes.size > 0) {
      await translated(this.#state.prepare())
      const records = [...this.#changes].map(([name, value]) => {
        const message = { key: Buffer.from(name, 'latin1'), value: value ?? null, time: 0 }
        return { ...recordOf(message, changelog, { maxBytes: Number.POSITIVE_INFINITY }).record, headers: [] }
      })
      outputs.push({ topic: changelog, partition: this.partition, records })
    }
    const written = await this.#committer
      .commit({ claim: this.#claim, outputs, offsets: this.#consumed })
      .catch(error => {
        this.#state.unknown ||= (error as Error).cause instanceof UnknownOutcome
        throw error
      })
    const next = written.get(nameOf({ topic: changelog, partition: this.partition }))?.next
    if (next !== undefined) {
      if (await this.#state.local.apply(this.#changes, next, this.#state.at)) this.#state.at = next
      else {
        // Another process keeps its copy in the same directory and woke up late: the changelog says what is true.
        await this.#state.local.clear()
        await this.#state.restore()
      }
    }
    this.#committed()
  }

  abort(): void {
    this.#open = false
    this.#outputs = []
    this.#pending = []
    this.#changes = new Map()
  }

  #check(): void {
    if (!this.#open)
      throw new WeftError('INVALID', 'this transaction has ended: use it only within its call of process')
  }
}

function* pair(
  entry: [string, Uint8Array | undefined] | undefined,
  prefix: number,
): Generator<readonly [Uint8Array, Uint8Array]> {
  if (entry?.[1]) yield [Buffer.from(entry[0], 'latin1').subarray(prefix), entry[1]]
}
