import type { Events } from '@weft/schema'
import type { Header, Received } from '@weft/transport'
import type { Schedule } from './schedule.ts'
import type { Keyed } from './state.ts'

export type TopicName = keyof Events & string

/**
 * A stage: what it reads, what it writes, and a function from records and keyed state to records. Everything that it
 * emits follows from the records it was given, in their order; it reads no clock and rolls no dice, and how the records
 * were cut into batches must not matter. Throwing a WeftError that is not retryable dead-letters the record, any other
 * error is tried again first.
 */
export interface Stage<In extends TopicName = TopicName, Out extends TopicName = TopicName> {
  /** Names its state and its metrics: unique within a task, and kept over releases. */
  readonly name: string
  /** One topic, if the output is to be the same on every replay: the log orders the records of a topic only. */
  readonly reads: readonly In[]
  readonly writes: readonly Out[]
  /** The written topic that ticks go on to, in their place between the records. Without it they end here. */
  readonly ticksTo?: Out
  /** How a record moves the stage's clock: a time stamped by a server of ours. Without it only ticks do. */
  clock?(value: Events[In]): number
  /** One record after the other; either this or `processAll`. */
  process?(record: StageRecord<Events[In]>, context: Context<Out>): void
  /** As many as there are between two ticks: for work that is cheaper in batches. No clock is moved by records. */
  processAll?(records: readonly StageRecord<Events[In]>[], context: Context<Out>): Promise<void> | void
  /** The clock has reached `due.at`; the entry has left the schedule. Earliest first, before the record that moved the clock. */
  due?(due: Due, context: Context<Out>): void
  /** A tick has come, after what fell due by it. */
  tick?(tick: Tick, context: Context<Out>): void
}

/** What a record takes along from the one it came from. */
export interface Lineage {
  /** The entity; '' without one. */
  readonly key: string
  /** Event time, milliseconds since the epoch. */
  readonly time: number
  /** Tenant and trace. */
  readonly headers: readonly Header[]
  /** The message of the task's input that it came from; none for what time set off. */
  readonly source?: Received
}

/** A decoded record. Stages share it: it is never changed. */
export interface StageRecord<Value = unknown> extends Lineage {
  readonly topic: string
  readonly value: Value
}

/** Time as the log tells it, milliseconds since the epoch. */
export interface Tick {
  readonly tick: number
  readonly headers: readonly Header[]
}

export interface Due {
  readonly at: number
  readonly id: string
  readonly value: unknown
}

export interface Context<Out extends TopicName = TopicName> {
  readonly partition: number
  /** The stage's clock: the highest time that a tick or `clock` gave so far; 0 before any. */
  readonly now: number
  emit<Topic extends Out>(topic: Topic, value: Events[Topic], from: Lineage): void
  /** Sends the record to events.dlq.v1 with everything that a repair needs. */
  reject(record: StageRecord, code: string, reason: string): void
  /** Keyed state of the stage's own, by name. */
  state<Value>(name: string): Keyed<Value>
  /** What falls due later; one per stage. */
  schedule<Value>(): Schedule<Value>
  /** Counts something that comes out nowhere, such as a duplicate. */
  count(outcome: string): void
}

/** Lets a stage be written with its own topics' types and kept among others. */
export const stage = <In extends TopicName, Out extends TopicName>(definition: Stage<In, Out>): Stage =>
  definition as unknown as Stage
