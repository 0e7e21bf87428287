import type { Catalogue } from '@weft/schema'
import {
  bytes,
  type Message,
  type Process,
  type Received,
  type Retry,
  type Running,
  type Transaction,
  type Transport,
  text,
  WeftError,
} from '@weft/transport'
import { carried, letterOf } from './letter.ts'
import { type Observer, observer } from './metrics.ts'
import type { Stage, TopicName } from './stage.ts'
import { tickMessage, tickOf } from './ticks.ts'
import { type Item, isTick, type Lanes, walk } from './walk.ts'

/** Stages that share a consumer group and a transaction. The name is the group's: a task renamed starts over. */
export interface Task {
  readonly name: string
  readonly stages: readonly Stage[]
}

export interface TaskOptions {
  /** How often a batch is tried, and then each of its records, before a record is dead-lettered. */
  readonly retry?: Retry
  readonly commitEvery?: { readonly ms?: number; readonly messages?: number }
}

export const groupOf = (task: Task): string => `weft.${task.name}`

/** The topics that a task reads from the log: those that no stage before writes. INVALID when its stages cannot be walked. */
export function inputsOf({ name, stages }: Task): TopicName[] {
  const inputs = new Set<TopicName>()
  const written = new Set<TopicName>()
  const names = new Set<string>()
  for (const stage of stages) {
    if (names.has(stage.name)) throw new WeftError('INVALID', `task ${name} has two stages called ${stage.name}`)
    names.add(stage.name)
    for (const topic of stage.reads) if (!written.has(topic)) inputs.add(topic)
    for (const topic of stage.writes) {
      if (inputs.has(topic)) {
        throw new WeftError(
          'INVALID',
          `task ${name} reads ${topic} before ${stage.name} writes it: move ${stage.name} up`,
        )
      }
      written.add(topic)
    }
  }
  if (inputs.size === 0) throw new WeftError('INVALID', `task ${name} reads no topic: give it a stage that does`)
  return [...inputs]
}

/** Runs a task's stages in one consumer group, each batch in one transaction. */
export function runTask(
  transport: Transport,
  catalogue: Catalogue,
  task: Task,
  options: TaskOptions = {},
): Promise<Running> {
  const topics = inputsOf(task).map(name => ({ name }))
  const { maxAttempts = 5 } = options.retry ?? {}
  const process = processOf(catalogue, task, maxAttempts)
  // One more than the task's own, so that the task is who dead-letters, in the form that a repair needs.
  const retry = { ...options.retry, maxAttempts: maxAttempts + 1 }
  const { commitEvery } = options
  return transport.transact(topics, { group: groupOf(task), retry, ...(commitEvery && { commitEvery }) }, process)
}

function processOf(catalogue: Catalogue, task: Task, maxAttempts: number): Process {
  const observe = observer(task)
  /** Per partition where the batch began that failed, and how often. */
  const failed = new Map<number, { at: string; attempts: number }>()

  const one = async (message: Received, transaction: Transaction, tried: number): Promise<void> => {
    try {
      await pass(catalogue, task, [message], transaction, observe)
    } catch (error) {
      if (!isRecordsFault(error, transaction) || (isRetryable(error) && tried < maxAttempts)) throw error
      const attempts = isRetryable(error) ? tried : 1
      const reason = error instanceof Error ? error.message : String(error)
      const code = error instanceof WeftError ? error.code : 'FAILED'
      const letter = letterOf(message, { code, reason, consumer: task.name, attempts, at: message.time })
      const lanes: Lanes = new Map([['events.dlq.v1', [letter]]])
      append(catalogue, lanes, transaction)
      observe.began([message]).ended(lanes)
    }
  }

  return async (batch, transaction) => {
    if (!batch[0]) return
    const first = `${batch[0].topic.name} ${batch[0].position.at}`
    const before = failed.get(transaction.partition)
    const attempts = (before?.at === first ? before.attempts : 0) + 1
    try {
      try {
        await pass(catalogue, task, batch, transaction, observe)
      } catch (error) {
        if (!isRecordsFault(error, transaction) || (isRetryable(error) && attempts < maxAttempts)) throw error
        for (const message of batch) await one(message, transaction, attempts)
      }
      failed.delete(transaction.partition)
    } catch (error) {
      failed.set(transaction.partition, { at: first, attempts })
      observe.retried()
      throw error
    }
  }
}

const isRetryable = (error: unknown): boolean => !(error instanceof WeftError) || error.retryable

/** Whether an error may be the record's doing: not when the member is being stopped, fenced, or the log is closed. */
const isRecordsFault = (error: unknown, { signal }: Transaction): boolean =>
  !signal.aborted && !(error instanceof WeftError && (error.code === 'FENCED' || error.code === 'CLOSED'))

/** Decode, walk, encode: each once. Nothing reaches the transaction before all stages are through. */
async function pass(
  catalogue: Catalogue,
  task: Task,
  batch: readonly Received[],
  transaction: Transaction,
  observe: Observer,
): Promise<void> {
  const inputs = new Set<string>()
  const lanes: Lanes = new Map()
  for (const message of batch) {
    const topic = message.topic.name
    inputs.add(topic)
    const items = lanes.get(topic) ?? []
    lanes.set(topic, items)
    const tick = tickOf(message)
    if (tick === undefined) items.push(decode(catalogue, message))
    else if (tick) items.push(tick)
  }
  const span = observe.began(batch)
  const walked = await walk(task.stages, lanes, transaction.partition, transaction, span.count)
  for (const topic of inputs) lanes.delete(topic)
  append(catalogue, lanes, transaction)
  walked.commit()
  span.ended(lanes)
}

function decode(catalogue: Catalogue, message: Received): Item {
  const topic = message.topic.name as TopicName
  return {
    topic,
    key: message.key ? text(message.key) : '',
    value: catalogue.codec(topic).decode(message),
    time: message.time,
    headers: carried(message),
    source: message,
  }
}

/** Ticks go to the partition they came from, in their place; records go where their keys say. */
function append(catalogue: Catalogue, lanes: Lanes, transaction: Transaction): void {
  const { partition } = transaction
  const encoded: [string, Message[], { partition: number }?][] = []
  for (const [name, items] of lanes) {
    const codec = catalogue.codec(name as TopicName)
    let run: Message[] = []
    for (const item of items) {
      if (isTick(item)) {
        if (run.length > 0) encoded.push([name, run])
        run = []
        encoded.push([name, [tickMessage(catalogue, name, item)], { partition }])
      } else {
        const { key, time, headers, value } = item
        run.push({
          ...(key !== '' && { key: bytes(key) }),
          value: codec.encode(value as never),
          time,
          headers,
          schema: codec.schema,
        })
      }
    }
    if (run.length > 0) encoded.push([name, run])
  }
  for (const [name, messages, options] of encoded) transaction.append({ name }, messages, options)
}
