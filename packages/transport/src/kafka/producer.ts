import { type Cluster, nameOf } from './cluster.ts'
import {
  type Committing,
  type Compression,
  KafkaError,
  type KafkaRecord,
  type Membership,
  type Place,
  type Producer,
} from './driver.ts'
import { isTooLarge, persist } from './errors.ts'
import { pieces } from './parts.ts'

export interface Output extends Place {
  readonly records: readonly KafkaRecord[]
}

/** Offsets that a transaction commits for a group, by whoever may speak for it. */
export interface GroupCommit {
  readonly group: string
  readonly offsets: readonly Committing[]
  readonly asMember: <T>(work: (membership: Membership) => Promise<T>) => Promise<T>
}

export type Written = ReadonlyMap<string, { readonly first: bigint; readonly next: bigint }>

/** The commit was asked for, and whether it happened is not known: begin anew, then look. */
export class UnknownOutcome extends Error {
  override readonly name = 'UnknownOutcome'
  readonly written: Written
  constructor(written: Written, cause: unknown) {
    super('whether a transaction was committed is not known', { cause })
    this.written = written
  }
}

/** One transactional id. One transaction at a time; its caller sees to that. */
export class TransactionalProducer {
  readonly id: string
  readonly #cluster: Cluster
  readonly #timeoutMs: number
  readonly #compression: Compression
  #producer: Producer | undefined
  #begun = false
  #sequences = new Map<string, number>()

  constructor(
    cluster: Cluster,
    id: string,
    { timeoutMs, compression }: { timeoutMs: number; compression: Compression },
  ) {
    this.id = id
    this.#cluster = cluster
    this.#timeoutMs = timeoutMs
    this.#compression = compression
  }

  get ready(): boolean {
    return this.#begun
  }

  /**
   * Ends what this id has under way, committed if that was decided and else taken back, and fences whoever else uses it.
   * `own`: only if nobody else has used it since; else it throws PRODUCER_FENCED.
   */
  async begin({ own = false, signal }: { own?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    const current = own ? this.#producer : undefined
    const producer = await this.#coordinated(
      coordinator => this.#cluster.control.initProducer(coordinator, this.id, this.#timeoutMs, current),
      signal ? { signal } : {},
    )
    this.#producer = producer
    this.#begun = true
    this.#sequences = new Map()
  }

  #coordinated<T>(
    ask: Parameters<typeof Cluster.prototype.coordinated<T>>[2],
    options: { forMs?: number; signal?: AbortSignal } = {},
  ): Promise<T> {
    return this.#cluster.coordinated('transaction', this.id, ask, options)
  }

  /**
   * All outputs and offsets become visible together, or it throws and none ever does; UnknownOutcome if that cannot be
   * said. After an error `begin` comes first. Resolves with the first offset of each place and the one behind the last.
   */
  async run(outputs: readonly Output[], commit?: GroupCommit): Promise<Written> {
    const producer = this.#producer
    if (!producer || !this.#begun) throw new KafkaError('INVALID_PRODUCER_EPOCH', 'this producer has not begun')
    const { control } = this.#cluster
    let written: Written
    try {
      await Promise.all([
        outputs.length > 0 && this.#addPartitions(producer, outputs),
        commit && this.#coordinated(coordinator => control.addOffsets(coordinator, this.id, producer, commit.group)),
      ])
      ;[written] = await settledAll([this.#produce(producer, outputs), commit && this.#commitOffsets(producer, commit)])
    } catch (error) {
      this.#begun = false
      // What it wrote is taken back at the latest when it begins anew.
      await this.#coordinated(coordinator => control.endTransaction(coordinator, this.id, producer, false)).catch(
        () => {},
      )
      throw error
    }
    try {
      await this.#coordinated(coordinator => control.endTransaction(coordinator, this.id, producer, true))
    } catch (error) {
      this.#begun = false
      throw new UnknownOutcome(written, error)
    }
    return written
  }

  async #addPartitions(producer: Producer, outputs: readonly Output[]): Promise<void> {
    await this.#coordinated(async coordinator => {
      const outcomes = await this.#cluster.control.addPartitions(coordinator, this.id, producer, outputs)
      const failure = outcomes.find(({ error }) => error !== undefined && error !== 'OPERATION_NOT_ATTEMPTED')
      if (failure)
        throw new KafkaError(failure.error ?? '', `adding ${nameOf(failure)} to a transaction: ${failure.error}`)
    })
  }

  async #commitOffsets(producer: Producer, { group, offsets, asMember }: GroupCommit): Promise<void> {
    await asMember(membership =>
      this.#cluster.coordinated('group', group, async coordinator => {
        const { control } = this.#cluster
        const outcomes = await control.commitTransactionOffsets(coordinator, this.id, producer, membership, offsets)
        const failure = outcomes.find(({ error }) => error !== undefined)
        if (failure) throw new KafkaError(failure.error ?? '', `committing ${nameOf(failure)}: ${failure.error}`)
      }),
    )
  }

  async #produce(
    producer: Producer,
    outputs: readonly Output[],
  ): Promise<Map<string, { first: bigint; next: bigint }>> {
    const written = new Map<string, { first: bigint; next: bigint }>()
    let queues = outputs.map(({ topic, partition, records }) => ({ topic, partition, batches: [...pieces(records)] }))
    // In rounds: a partition has one batch in each.
    for (; queues.length > 0; queues = queues.filter(({ batches }) => batches.length > 0))
      await persist(() => this.#round(producer, queues, written), { forMs: this.#cluster.patienceMs })
    return written
  }

  /** Sends the first batch of each queue, and takes it out if it is there. */
  async #round(
    producer: Producer,
    queues: readonly Queue[],
    written: Map<string, { first: bigint; next: bigint }>,
  ): Promise<void> {
    const batches = queues.flatMap(({ topic, partition, batches: [records] }) => {
      const sequence = this.#sequences.get(nameOf({ topic, partition })) ?? 0
      return records ? [{ topic, partition, sequence, records }] : []
    })
    const answers = await settledAll(
      [...(await this.#cluster.byLeader(batches))].map(([broker, some]) =>
        this.#cluster.data.produce(broker, {
          transactionalId: this.id,
          producer,
          batches: some,
          compression: this.#compression,
          timeoutMs: Math.max(1_000, this.#cluster.patienceMs),
        }),
      ),
    )
    const queueOf = new Map(queues.map(queue => [nameOf(queue), queue.batches]))
    let failure: KafkaError | undefined
    for (const { topic, partition, offset, error, message } of answers.flat()) {
      const name = nameOf({ topic, partition })
      const queue = queueOf.get(name) ?? []
      const records = queue[0] ?? []
      if (error === undefined || error === 'DUPLICATE_SEQUENCE_NUMBER') {
        queue.shift()
        this.#sequences.set(name, ((this.#sequences.get(name) ?? 0) + records.length) % 2 ** 31)
        written.set(name, { first: written.get(name)?.first ?? offset, next: offset + BigInt(records.length) })
      } else if (isTooLarge(error) && records.length > 1) {
        // The topic takes less at once than we thought: each record may still fit.
        const middle = records.length >> 1
        queue.splice(0, 1, records.slice(0, middle), records.slice(middle))
      } else {
        this.#cluster.forget(topic)
        failure = new KafkaError(error, `appending to ${name}: ${message ?? error}`)
      }
    }
    if (failure) throw failure
  }
}

/** What is still to be sent to a partition, batch by batch. */
interface Queue extends Place {
  readonly batches: (readonly KafkaRecord[])[]
}

/** Like Promise.all, but throws only when nothing is under way any more. */
async function settledAll<const T extends readonly unknown[]>(
  all: T,
): Promise<{ -readonly [I in keyof T]: Awaited<T[I]> }> {
  const outcomes = await Promise.allSettled(all)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  return outcomes.map(outcome => (outcome as PromiseFulfilledResult<unknown>).value) as never
}

/** One output for each place. */
export function merged(all: readonly Output[]): Output[] {
  const outputs = new Map<string, { topic: string; partition: number; records: KafkaRecord[] }>()
  for (const { topic, partition, records } of all) {
    const name = nameOf({ topic, partition })
    const output = outputs.get(name)
    if (output) for (const record of records) output.records.push(record)
    else outputs.set(name, { topic, partition, records: [...records] })
  }
  return [...outputs.values()]
}
