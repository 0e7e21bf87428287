import { type Events, entityKey } from '@weft/schema'
import { bytes, HEADERS, header, type Received } from '@weft/transport'
import { MemoryState } from './memory-state.ts'
import type { Stage, StageRecord, TopicName } from './stage.ts'
import { type Item, isTick, type Lanes, walk } from './walk.ts'

export interface Driven {
  /** Hands values to the first stage as one batch; the event time is `sent_at`, the key the entity's. */
  feed(...values: readonly object[]): Promise<void>
  /** Lets a tick come. */
  tick(at: number, headers?: Readonly<Record<string, string>>): Promise<void>
  /** All values written to a topic so far. */
  written<Topic extends TopicName>(topic: Topic): Events[Topic][]
  /** The same as records, with key, time and headers. */
  records<Topic extends TopicName>(topic: Topic): StageRecord<Events[Topic]>[]
  /** Everything written so far, ticks left out, which is then forgotten. */
  take(): StageRecord[]
  /** How often stages counted an outcome such as `duplicate`. */
  counted(outcome: string): number
  /** Entries in the state of all stages. */
  readonly entries: number
}

/** Runs stages without a transport: state lives in memory, values stay decoded. */
export function drive(stages: Stage | readonly Stage[], { partition = 0 } = {}): Driven {
  const all = [stages].flat()
  const topic = all[0]?.reads[0]
  if (!topic) throw new Error('nothing to drive: the first stage reads no topic')
  const state = new MemoryState()
  const outcomes = new Map<string, number>()
  const outputs: Lanes = new Map()
  let offset = 0

  const run = async (items: Item[]) => {
    const lanes: Lanes = new Map([[topic, items]])
    const walked = await walk(all, lanes, partition, state, (_, direction, n) =>
      outcomes.set(direction, (outcomes.get(direction) ?? 0) + n),
    )
    walked.commit()
    lanes.delete(topic)
    for (const [name, written] of lanes) {
      const before = outputs.get(name)
      if (before) for (const item of written) before.push(item)
      else outputs.set(name, written)
    }
  }
  const records = (name: string) => (outputs.get(name) ?? []).filter(item => !isTick(item)) as StageRecord<never>[]

  return {
    feed: (...values) => run(values.map(value => recordOf(topic, value, partition, offset++))),
    tick: (tick, headers = {}) =>
      run([{ tick, headers: Object.entries(headers).map(([name, value]) => header(name, value)) }]),
    records,
    written: name => records(name).map(({ value }) => value),
    take() {
      const taken = [...outputs.keys()].flatMap(records)
      outputs.clear()
      return taken
    },
    counted: outcome => outcomes.get(outcome) ?? 0,
    get entries() {
      return state.size
    },
  }
}

function recordOf(topic: string, value: object, partition: number, offset: number): StageRecord {
  const event = value as { store_id?: string; sent_at?: number; event_time?: number; received_at?: number }
  const time = event.sent_at ?? event.event_time ?? 0
  const key = event.store_id === undefined ? '' : entityKey(value as { store_id: string })
  const headers = event.store_id === undefined ? [] : [header(HEADERS.tenant, event.store_id)]
  const source: Received = {
    topic: { name: topic },
    position: { partition, at: String(offset) },
    key: bytes(key),
    value: null,
    time,
    headers,
    appendedAt: time,
  }
  return { topic, key, value, time, headers, source }
}
