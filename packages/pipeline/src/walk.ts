import type { Events } from '@weft/schema'
import { letterOf } from './letter.ts'
import { StateSchedule } from './schedule.ts'
import type { Context, Lineage, Stage, StageRecord, Tick, TopicName } from './stage.ts'
import { type StateAccess, StateStore } from './state.ts'
import { MAX_AHEAD_MS } from './ticks.ts'

export type Item = StageRecord | Tick
/** Per topic what goes through it, in order. */
export type Lanes = Map<string, Item[]>
export type Count = (stage: string, direction: string, records: number) => void

export const isTick = (item: Item): item is Tick => 'tick' in item

/** Hands the records from stage to stage, in the order of the array. Nothing is kept until `commit` is called. */
export async function walk(
  stages: readonly Stage[],
  lanes: Lanes,
  partition: number,
  state: StateAccess,
  count: Count,
): Promise<{ commit(): void }> {
  const scopes: StageScope[] = []
  for (const stage of stages) {
    const scope = new StageScope(stage, partition, state, lanes, count)
    scopes.push(scope)
    const inputs = stage.reads.flatMap(topic => lanes.get(topic) ?? [])
    await scope.run(inputs)
  }
  return {
    commit() {
      for (const scope of scopes) scope.flush()
    },
  }
}

/** Where a stage's time stands, and before which nothing is due. */
type Clock = readonly [now: number, floor: number]

/** One stage at work on one batch: the clock, the state and what it emits. */
class StageScope implements Context {
  readonly partition: number
  now = 0
  readonly #stage: Stage
  readonly #state: StateAccess
  readonly #lanes: Lanes
  readonly #count: Count
  readonly #stores = new Map<string, StateStore<never>>()
  readonly #clock: StateStore<Clock> | undefined
  readonly #floor: number
  #schedule: StateSchedule<unknown> | undefined

  constructor(stage: Stage, partition: number, state: StateAccess, lanes: Lanes, count: Count) {
    this.#stage = stage
    this.partition = partition
    this.#state = state
    this.#lanes = lanes
    this.#count = count
    if (stage.clock || stage.due || stage.tick) this.#clock = new StateStore(state, `${stage.name}.clock`)
    const [now, floor] = this.#clock?.get('') ?? [0, 0]
    this.now = now
    this.#floor = floor
  }

  async run(items: readonly Item[]): Promise<void> {
    const stage = this.#stage
    const { now } = this
    let together: StageRecord<never>[] = []
    let records = 0
    for (const item of items) {
      if (isTick(item)) {
        if (together.length > 0) await stage.processAll?.(together, this)
        together = []
        this.#moveTo(item.tick)
        stage.tick?.(item, this)
        if (stage.ticksTo) lane(this.#lanes, stage.ticksTo).push(item)
        continue
      }
      records++
      if (stage.processAll) together.push(item as StageRecord<never>)
      else {
        if (stage.clock) this.#moveBy(item, stage.clock(item.value as never))
        stage.process?.(item as StageRecord<never>, this)
      }
    }
    if (together.length > 0) await stage.processAll?.(together, this)
    const floor = this.#schedule?.floor ?? this.#floor
    if (this.now !== now || floor !== this.#floor) this.#clock?.set('', [this.now, floor])
    if (records > 0) this.#count(stage.name, 'in', records)
  }

  /** A record whose time lies ahead of the log's own clock moves nothing: one wrong clock would close everybody's windows. */
  #moveBy({ source }: StageRecord, time: number): void {
    const latest = source ? source.appendedAt + MAX_AHEAD_MS : Number.POSITIVE_INFINITY
    this.#moveTo(time <= latest ? time : this.now)
  }

  /** Time only advances. What falls due on the way does so in the order of its times, not all at the end. */
  #moveTo(time: number): void {
    const target = Math.max(this.now, time)
    const { due } = this.#stage
    if (due) {
      for (let entry = this.#due().take(target); entry; entry = this.#due().take(target)) {
        this.now = Math.max(this.now, entry.at)
        due.call(this.#stage, entry, this)
      }
    }
    this.now = target
  }

  #due(): StateSchedule<unknown> {
    this.#schedule ??= new StateSchedule(this.#state, `${this.#stage.name}.schedule`, this.#floor)
    return this.#schedule
  }

  emit<Topic extends TopicName>(topic: Topic, value: Events[Topic], from: Lineage): void {
    const { key, time, headers, source } = from
    lane(this.#lanes, topic).push({ topic, key, value, time, headers, ...(source && { source }) })
    this.#count(this.#stage.name, 'out', 1)
  }

  reject(record: StageRecord, code: string, reason: string): void {
    const failure = { code, reason, consumer: this.#stage.name, attempts: 1, at: this.now || record.time }
    const from = record.source
    if (!from) throw new Error(`${this.#stage.name} rejected a record that time set off: there is nothing to repair`)
    lane(this.#lanes, 'events.dlq.v1').push(letterOf(from, failure, record.value))
    this.#count(this.#stage.name, 'dead', 1)
  }

  state<Value>(name: string): StateStore<Value> {
    const full = `${this.#stage.name}.${name}`
    const store = this.#stores.get(full) ?? new StateStore(this.#state, full)
    this.#stores.set(full, store)
    return store
  }

  schedule<Value>(): StateSchedule<Value> {
    return this.#due() as StateSchedule<Value>
  }

  count(outcome: string): void {
    this.#count(this.#stage.name, outcome, 1)
  }

  flush(): void {
    this.#clock?.flush()
    this.#schedule?.flush()
    for (const store of this.#stores.values()) store.flush()
  }
}

function lane(lanes: Lanes, topic: string): Item[] {
  const items = lanes.get(topic) ?? []
  lanes.set(topic, items)
  return items
}
