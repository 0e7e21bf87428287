import type { Brokers } from './brokers.ts'
import type { CommandOf } from './commands.ts'
import type { Connection } from './connection.ts'
import type { TransactionId } from './message.ts'
import { PulsarError } from './pulsar-error.ts'
import type { RequestName } from './requests.ts'

/** The system topic whose partitions are the coordinators. */
const COORDINATORS = 'persistent://pulsar/system/transaction_coordinator_assign'

type Answer = { readonly error?: number | undefined; readonly message?: string | undefined }

/** Pulsar's transactions: begun at a coordinator, told of what takes part, and ended. Needs `transactionCoordinatorEnabled`. */
export class Transactions {
  readonly #brokers: Brokers
  readonly #coordinators = new Map<number, Promise<Connection>>()
  #count: number | undefined
  #turn = 0

  constructor(brokers: Brokers) {
    this.#brokers = brokers
  }

  /** `ttlMs`: then the coordinator aborts it. Throws PulsarError. */
  async begin(ttlMs: number): Promise<TransactionId> {
    this.#count ??= (await this.#brokers.partitions(COORDINATORS)) || undefined
    if (!this.#count)
      throw new PulsarError(
        'TransactionCoordinatorNotFound',
        'the cluster has no transaction coordinator: set transactionCoordinatorEnabled=true',
      )
    const coordinator = this.#turn++ % this.#count
    const begun = await this.#ask(coordinator, 'newTxn', {
      ttlMs,
      coordinator,
    })
    return { most: begun.txnMost ?? 0, least: begun.txnLeast ?? 0 }
  }

  /** Before the first send to each of these topics (partitions by their own names). */
  async addTopics(id: TransactionId, partitions: readonly string[]): Promise<void> {
    await this.#ask(id.most, 'addPartitionToTxn', { ...idOf(id), partitions })
  }

  /** Before the first acknowledgement on each of these. */
  async addSubscriptions(
    id: TransactionId,
    subscriptions: readonly { readonly topic: string; readonly subscription: string }[],
  ): Promise<void> {
    await this.#ask(id.most, 'addSubscriptionToTxn', { ...idOf(id), subscriptions })
  }

  /** Resolves when it is decided. Throws PulsarError: TransactionNotFound, InvalidTxnStatus (it is ended the other way), or nobody knows. */
  async end(id: TransactionId, action: 'commit' | 'abort'): Promise<void> {
    await this.#ask(id.most, 'endTxn', { ...idOf(id), action: action === 'commit' ? 0 : 1 })
  }

  async #ask<N extends RequestName & ('newTxn' | 'addPartitionToTxn' | 'addSubscriptionToTxn' | 'endTxn')>(
    coordinator: number,
    name: N,
    body: Omit<CommandOf<N>, 'requestId'>,
  ): Promise<CommandOf<'newTxnResponse'>> {
    const connection = await this.#coordinator(coordinator)
    const answer = (await connection.request(name, body)) as CommandOf<'newTxnResponse'>
    if (answer.error === undefined) return answer
    const error = PulsarError.of(answer.error, answer.message, name)
    if (error.code === 'TransactionCoordinatorNotFound') this.#coordinators.delete(coordinator)
    throw error
  }

  #coordinator(number: number): Promise<Connection> {
    const known = this.#coordinators.get(number)
    if (known) return known
    const connecting = this.#connect(number)
    this.#coordinators.set(number, connecting)
    const forget = () => {
      if (this.#coordinators.get(number) === connecting) this.#coordinators.delete(number)
    }
    connecting.then(connection => void connection.gone.then(forget), forget)
    return connecting
  }

  async #connect(coordinator: number): Promise<Connection> {
    const connection = await this.#brokers.of(`${COORDINATORS}-partition-${coordinator}`)
    const answer: Answer = await connection.request('tcClientConnect', { coordinator })
    if (answer.error !== undefined)
      throw PulsarError.of(answer.error, answer.message, `asking transaction coordinator ${coordinator}`)
    return connection
  }
}

const idOf = ({ most, least }: TransactionId) => ({ txnMost: most, txnLeast: least })
