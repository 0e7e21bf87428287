import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { partitionOf } from '../partitioner.ts'
import { type Message, type Topic, WeftError, type Writer } from '../transport.ts'
import { replayDecided } from './changelog.ts'
import { type Cluster, translated } from './cluster.ts'
import { isFencing, weftError } from './errors.ts'
import { findIds } from './framing.ts'
import { WRITER_PARTITIONS, WRITERS } from './names.ts'
import { partsOf } from './parts.ts'
import { merged, type Output, TransactionalProducer, UnknownOutcome } from './producer.ts'
import { configsOf, createTopics, type TopicEntry, type Topics } from './topics.ts'
import type { Transactions } from './transact.ts'

const NAME_BYTES = 1_000
const MOST_CLAIMS = 10
const CLAIM_MS = 1_000

interface Waiting {
  readonly entry: TopicEntry
  readonly messages: Sequenced
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

type Sequenced = readonly { readonly sequence: bigint; readonly message: Message }[]

/**
 * Appends with a transactional id of the writer's name, and notes the last sequence of each topic in a compacted topic of
 * the transport's own, in the same transaction.
 */
export class KafkaWriter implements Writer {
  readonly #name: string
  /** The name among all tenants'. */
  readonly #own: string
  readonly #partition: number
  readonly #cluster: Cluster
  readonly #topics: Topics
  readonly #producer: TransactionalProducer
  readonly #transportClosed: AbortSignal
  readonly #waiting: Waiting[] = []
  /** Last sequences by the topics' names; undefined while they have to be read again. */
  #last: Map<string, bigint> | undefined
  #running: Promise<void> | undefined
  #fenced: WeftError | undefined
  /** Who has the name, as it was noted when it was taken. */
  #owner: string | undefined
  readonly #token = randomUUID()
  #closed = false

  /** Fences whoever had the name, and ends what it left open. */
  static async open(
    name: string,
    cluster: Cluster,
    topics: Topics,
    transactions: Transactions,
    closed: AbortSignal,
  ): Promise<KafkaWriter> {
    if (name === '' || Buffer.byteLength(name) > NAME_BYTES)
      throw new WeftError('INVALID', `a writer's name has 1 to ${NAME_BYTES} bytes, not ${Buffer.byteLength(name)}`)
    const writer = new KafkaWriter(name, cluster, topics, transactions, closed)
    await translated(writer.#begin())
    return writer
  }

  private constructor(name: string, cluster: Cluster, topics: Topics, transactions: Transactions, closed: AbortSignal) {
    this.#name = name
    this.#own = topics.own(name)
    this.#partition = partitionOf(Buffer.from(this.#own), WRITER_PARTITIONS)
    this.#cluster = cluster
    this.#topics = topics
    this.#producer = new TransactionalProducer(cluster, `weft.writer.${this.#own}`, transactions)
    this.#transportClosed = closed
  }

  async #begin(): Promise<void> {
    if ((await this.#cluster.partitions(WRITERS)) === undefined) {
      const configs = { ...configsOf({ cleanup: 'compact' }), 'segment.bytes': String(16 * 1024 * 1024) }
      await createTopics(this.#cluster, [{ name: WRITERS, partitions: WRITER_PARTITIONS, configs }])
    }
    for (let tries = 1; ; tries++) {
      await this.#producer.begin()
      try {
        await this.#producer.run([this.#note([[JSON.stringify([this.#own]), this.#token]])])
        break
      } catch (error) {
        // Whoever had the name until now may have begun anew before it could see that it has it no more.
        if (!(isFencing(error) && tries < MOST_CLAIMS)) throw error
      }
    }
    await this.#read()
  }

  #note(entries: readonly (readonly [key: string, value: string])[]): Output {
    const records = entries.map(([key, value]) => ({
      key: Buffer.from(key),
      value: Buffer.from(value),
      headers: [],
      timestamp: 0n,
    }))
    return { topic: WRITERS, partition: this.#partition, records }
  }

  /**
   * Writers share partitions, and none waits for another's transactions: its own have ended. A note's key is [writer,
   * topic] in JSON, its value the sequence as text; that of [writer] says who has the name.
   */
  async #read(): Promise<void> {
    const last = new Map<string, bigint>()
    let owner: string | undefined
    const from = (await this.#cluster.offsets([{ topic: WRITERS, partition: this.#partition, time: -2n }])).values()
    for await (const records of replayDecided(
      this.#cluster,
      WRITERS,
      this.#partition,
      from.next().value ?? 0n,
      this.#transportClosed,
    ))
      for (const { key, value } of records) {
        const [writer, topic] = JSON.parse(Buffer.from(key ?? []).toString()) as [string, string?]
        if (writer !== this.#own || !value) continue
        const text = Buffer.from(value).toString()
        if (topic === undefined) owner = text
        else last.set(topic, BigInt(text))
      }
    this.#owner = owner
    this.#last = last
  }

  async last(topic: Topic): Promise<bigint | undefined> {
    this.#check()
    const { name } = await translated(this.#topics.resolve(topic))
    while (this.#running) await this.#running
    if (!this.#last) await translated(this.#recover())
    return this.#last?.get(name)
  }

  async append(topic: Topic, messages: Sequenced): Promise<void> {
    this.#check()
    const entry = this.#topics.known(topic) ?? (await translated(this.#topics.resolve(topic)))
    this.#check()
    const rising = above(messages, undefined)
    const { ids } = this.#cluster
    const plain = rising.map(({ message }) => message)
    // What cannot be appended is refused before it waits with others.
    partsOf(entry, plain, { ids })
    const finding = findIds(plain, ids)
    if (finding) await finding
    const highest = rising.at(-1)?.sequence
    if (highest === undefined) return
    if (BigInt.asIntN(64, highest) !== highest)
      throw new WeftError('INVALID', `writer "${this.#name}": a sequence has 64 bits, ${highest} has more`)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ entry, messages: rising, resolve, reject })
    this.#running ??= this.#drain()
    await promise
  }

  async #drain(): Promise<void> {
    await undefined
    while (this.#waiting.length > 0) {
      const works = this.#waiting.splice(0)
      try {
        await this.#write(works)
        for (const { resolve } of works) resolve()
      } catch (error) {
        if (isFencing(error))
          this.#fenced ??= new WeftError('FENCED', `writer "${this.#name}" was taken over`, { cause: error })
        for (const { reject } of works) reject(this.#fenced ?? weftError(error))
      }
    }
    this.#running = undefined
  }

  async #write(works: readonly Waiting[], again = false): Promise<void> {
    if (this.#fenced) throw this.#fenced
    if (!this.#producer.ready || !this.#last) await this.#recover()
    const last = new Map(this.#last)
    const outputs: Output[] = []
    for (const { entry, messages } of works) {
      const fresh = above(messages, last.get(entry.name))
      const highest = fresh.at(-1)?.sequence
      if (highest === undefined) continue
      outputs.push(
        ...partsOf(
          entry,
          fresh.map(({ message }) => message),
          { ids: this.#cluster.ids },
        ),
      )
      last.set(entry.name, highest)
    }
    const notes = [...last].filter(([topic, sequence]) => this.#last?.get(topic) !== sequence)
    if (notes.length === 0) return
    const note = this.#note(notes.map(([topic, sequence]) => [JSON.stringify([this.#own, topic]), String(sequence)]))
    try {
      await this.#producer.run([...merged(outputs), note])
      this.#last = last
    } catch (error) {
      this.#last = undefined
      if (!(error instanceof UnknownOutcome || isFencing(error))) throw error
      // Beginning anew decides it, unless another has the name; what was noted tells how.
      await this.#recover(error instanceof UnknownOutcome ? error.cause : error)
      const done = notes.every(([topic, sequence]) => this.#last?.get(topic) === sequence)
      // Whoever had the name before may have ended it by beginning anew just before it saw that it has it no more.
      if (!done && !again && isFencing(error)) return this.#write(works, true)
      if (!done) throw new WeftError('UNAVAILABLE', 'a transaction was taken back', { cause: error })
    }
  }

  /** Throws what is fencing only if another has taken the name. */
  async #recover(fencing?: unknown): Promise<void> {
    try {
      // Asked as its own, a broker may hand over what a successor has by now.
      if (isFencing(fencing)) throw fencing
      await this.#producer.begin({ own: true })
      await this.#read()
    } catch (error) {
      if (!isFencing(error)) throw error
      // A broker that has ended a transaction for taking too long answers as if another had; one that has really taken
      // the name says so a moment later.
      for (const end = performance.now() + CLAIM_MS; performance.now() < end; await sleep(100)) {
        await this.#read()
        if (this.#owner !== this.#token) throw error
      }
      await this.#producer.begin()
      await this.#read()
      if (this.#owner !== this.#token) throw error
    }
  }

  #check(): void {
    if (this.#closed || this.#transportClosed.aborted)
      throw new WeftError('CLOSED', `writer "${this.#name}" was closed`)
    if (this.#fenced) throw this.#fenced
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    while (this.#running) await this.#running
  }
}

/** Those whose sequence is above all that came before it. */
function above(messages: Sequenced, last: bigint | undefined): Sequenced {
  let highest = last
  return messages.filter(({ sequence }) => {
    if (highest !== undefined && sequence <= highest) return false
    highest = sequence
    return true
  })
}
