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
import { carried, letterOf, withoutValue } from './letter.ts'
import { observer } from './metrics.ts'
import type { Stage, TopicName } from './stage.ts'
import { tickMessage, tickOf } from './ticks.ts'
import { type Count, type Item, isTick, type Lanes, walk } from './walk.ts'

/** Stages that share a consumer group and a transaction. The name is the group's: a task renamed starts over. */
export interface Task {
  readonly name: string
  readonly stages: readonly Stage[]
}

export interface TaskOptions {
  /** How often a batch is tried, and then each of its records, before a record is dead-lettered. */
  readonly retry?: Retry
  readonly commitEvery?: { readonly ms?: number; readonly messages?: number }
  /** Told of each batch that failed and is tried again. */
  readonly onRetry?: (error: unknown, attempts: number) => void
}

/** Messages of a transaction at most: so many hold up what else runs in the process for some tens of milliseconds. */
const BATCH = 250

/** For the headers and the longest of keys, in bytes. */
const HEADROOM = 8192

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
  const { onRetry } = options
  const process = processOf(catalogue, task, transport.guarantees.maxMessageBytes, maxAttempts, onRetry)
  // The task is who dead-letters, in the form that a repair needs.
  const retry = { ...options.retry, maxAttempts: Number.POSITIVE_INFINITY }
  const { commitEvery = { messages: BATCH } } = options
  return transport.transact(topics, { group: groupOf(task), retry, commitEvery }, process)
}

function processOf(
  catalogue: Catalogue,
  task: Task,
  maxBytes: number,
  maxAttempts: number,
  onRetry?: TaskOptions['onRetry'],
): Process {
  const observe = observer(task)
  /** Per partition where the batch began that failed, and how often. */
  const failed = new Map<number, { at: string; attempts: number }>()

  const work = async (batch: readonly Received[], transaction: Transaction): Promise<() => void> => {
    const seen = observe.began(batch)
    const { lanes, state } = await pass(catalogue, task, batch, transaction, seen.count)
    const outputs = encode(catalogue, lanes, transaction.partition, maxBytes)
    return () => {
      for (const [name, messages, options] of outputs) transaction.append({ name }, messages, options)
      state.commit()
      seen.ended(lanes)
    }
  }

  const bury = (message: Received, transaction: Transaction, error: unknown, tried: number): (() => void) => {
    const attempts = isRetryable(error) ? tried : 1
    const reason = error instanceof Error ? error.message : String(error)
    const code = error instanceof WeftError ? error.code : 'FAILED'
    const failure = { code, reason, consumer: task.name, attempts, at: message.time }
    const isLarge = (message.value?.length ?? 0) + 2 * HEADROOM > maxBytes
    const letter = isLarge ? withoutValue(letterOf(message, failure)) : letterOf(message, failure)
    const lanes: Lanes = new Map([['events.dlq.v1', [letter]]])
    const outputs = encode(catalogue, lanes, transaction.partition, maxBytes)
    return () => {
      for (const [name, messages] of outputs) transaction.append({ name }, messages)
      observe.began([message]).ended(lanes)
    }
  }

  return async (batch, transaction) => {
    if (!batch[0]) return
    const first = `${batch[0].topic.name} ${batch[0].position.at}`
    const before = failed.get(transaction.partition)
    const tried = (before?.at === first ? before.attempts : 0) + 1
    const isFinal = (error: unknown) =>
      isRecordsFault(error, transaction) && (!isRetryable(error) || tried >= maxAttempts)
    try {
      // Nothing reaches the transaction before a batch, or a record of one that failed, is through all stages.
      const together = await work(batch, transaction).catch(error =>
        isFinal(error) ? undefined : Promise.reject(error),
      )
      if (together) together()
      else {
        for (const message of batch) {
          const alone = await work([message], transaction).catch(error => {
            if (!isFinal(error)) throw error
            return bury(message, transaction, error, tried)
          })
          alone()
        }
      }
      failed.delete(transaction.partition)
    } catch (error) {
      failed.set(transaction.partition, { at: first, attempts: tried })
      observe.retried()
      if (!transaction.signal.aborted) onRetry?.(error, tried)
      throw isRecordsFault(error, transaction) ? error : held(error)
    }
  }
}

const isRetryable = (error: unknown): boolean => !(error instanceof WeftError) || error.retryable

/** Faults of the log, of a service or of this member: no record is to blame, so all wait until they are over. */
const NOT_THE_RECORDS: readonly string[] = ['CLOSED', 'DENIED', 'FENCED', 'NOT_FOUND', 'UNAVAILABLE']

const isRecordsFault = (error: unknown, { signal }: Transaction): boolean =>
  !signal.aborted && !(error instanceof WeftError && NOT_THE_RECORDS.includes(error.code))

const held = (cause: unknown): unknown =>
  cause instanceof WeftError ? new WeftError(cause.code, cause.message, { retryable: true, cause }) : cause

/** Decodes a batch and walks it through the stages; what they wrote is left in the lanes. */
async function pass(
  catalogue: Catalogue,
  task: Task,
  batch: readonly Received[],
  transaction: Transaction,
  count: Count,
): Promise<{ lanes: Lanes; state: { commit(): void } }> {
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
  const state = await walk(task.stages, lanes, transaction.partition, transaction, count)
  for (const topic of inputs) lanes.delete(topic)
  return { lanes, state }
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

type Output = readonly [topic: string, messages: Message[], options?: { readonly partition: number }]

/**
 * Ticks go to the partition they came from, in their place; records go where their keys say. Throws TOO_LARGE for a
 * message that no log would take.
 */
function encode(catalogue: Catalogue, lanes: Lanes, partition: number, maxBytes: number): Output[] {
  const outputs: Output[] = []
  for (const [name, items] of lanes) {
    const codec = catalogue.codec(name as TopicName)
    let run: Message[] = []
    for (const item of items) {
      if (isTick(item)) {
        if (run.length > 0) outputs.push([name, run])
        run = []
        outputs.push([name, [tickMessage(catalogue, name, item)], { partition }])
        continue
      }
      const { key, time, headers } = item
      const value = codec.encode(item.value as never)
      if (value.length + key.length + HEADROOM > maxBytes) {
        throw new WeftError('TOO_LARGE', `what becomes of it on ${name} has ${value.length} bytes: at most ${maxBytes}`)
      }
      run.push({ ...(key !== '' && { key: bytes(key) }), value, time, headers, schema: codec.schema })
    }
    if (run.length > 0) outputs.push([name, run])
  }
  return outputs
}
