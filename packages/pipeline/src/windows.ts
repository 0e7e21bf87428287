import type { Context, Due } from './stage.ts'

/** From `start` up to and without `end`, milliseconds of event time. */
export interface Span {
  readonly start: number
  readonly end: number
}

export interface Closed<Aggregate> extends Span {
  readonly key: string
  readonly aggregate: Aggregate
}

/** Which windows a time lies in, earliest first. */
export type Assign = (time: number) => Span[]

/** Windows that follow each other without a gap, aligned to the epoch. */
export function tumbling(sizeMs: number): Assign {
  return hopping(sizeMs, sizeMs)
}

/** Windows of `sizeMs` that begin every `hopMs`, aligned to the epoch. */
export function hopping(sizeMs: number, hopMs: number): Assign {
  if (!(hopMs > 0 && hopMs <= sizeMs)) throw new RangeError(`windows of ${sizeMs} ms cannot begin every ${hopMs} ms`)
  return time => {
    const spans: Span[] = []
    for (let start = Math.floor(time / hopMs) * hopMs; start > time - sizeMs; start -= hopMs) {
      spans.unshift({ start, end: start + sizeMs })
    }
    return spans
  }
}

type Timed = Pick<Context, 'now' | 'schedule' | 'state'>

/** A window's aggregate, found again when it falls due by its name, which is therefore unique in a stage. */
interface WindowOptions<Aggregate> {
  readonly name: string
  /** How long after its end a window still takes records. */
  readonly graceMs: number
  create(): Aggregate
}

/**
 * Aggregates of aligned windows. A window closes when the stage's clock reaches its end and the grace period; what comes
 * after that is late. Whatever order records come in before, the windows are the same.
 */
export class Windowed<Aggregate> {
  readonly name: string
  readonly #assign: Assign
  readonly #graceMs: number
  readonly #create: () => Aggregate

  constructor({ name, assign, graceMs, create }: WindowOptions<Aggregate> & { readonly assign: Assign }) {
    this.name = name
    this.#assign = assign
    this.#graceMs = graceMs
    this.#create = create
  }

  /** Changes the aggregates of the windows that the time lies in; returns those that had closed. */
  add(context: Timed, key: string, time: number, change: (aggregate: Aggregate) => void): Span[] {
    const schedule = context.schedule<Aggregate>()
    const late: Span[] = []
    for (const span of this.#assign(time)) {
      const closes = span.end + this.#graceMs
      if (closes <= context.now) {
        late.push(span)
        continue
      }
      const id = `${this.name}|${span.start.toString(36)}|${key}`
      const aggregate = schedule.get(closes, id) ?? this.#create()
      change(aggregate)
      schedule.set(closes, id, aggregate)
    }
    return late
  }

  /** The window that fell due; undefined if the entry is not one of these. */
  closed({ at, id, value }: Due): Closed<Aggregate> | undefined {
    if (!id.startsWith(`${this.name}|`)) return undefined
    const from = this.name.length + 1
    const to = id.indexOf('|', from)
    const start = Number.parseInt(id.slice(from, to), 36)
    return { start, end: at - this.#graceMs, key: id.slice(to + 1), aggregate: value as Aggregate }
  }
}

interface Open<Aggregate> extends Span {
  readonly aggregate: Aggregate
}

interface Sessions<Aggregate> {
  readonly wake: number
  readonly open: readonly Open<Aggregate>[]
}

/**
 * Windows that last as long as no two records of a key are more than `gapMs` apart, and close that long and the grace
 * period after the last one. `end` is the time of the last record. A record between two of them makes them one.
 */
export class SessionWindows<Aggregate> {
  readonly name: string
  readonly #gapMs: number
  readonly #graceMs: number
  readonly #create: () => Aggregate
  readonly #merge: (a: Aggregate, b: Aggregate) => Aggregate

  constructor(
    options: WindowOptions<Aggregate> & { readonly gapMs: number; merge(a: Aggregate, b: Aggregate): Aggregate },
  ) {
    this.name = options.name
    this.#gapMs = options.gapMs
    this.#graceMs = options.graceMs
    this.#create = options.create
    this.#merge = options.merge
  }

  /** False if the record is late: its own window would have closed, and it extends none that is open. */
  add(context: Timed, key: string, time: number, change: (aggregate: Aggregate) => void): boolean {
    const state = context.state<Sessions<Aggregate>>(this.name)
    const before = state.get(key) ?? { wake: Number.POSITIVE_INFINITY, open: [] }
    const near = (each: Span) => each.start - this.#gapMs <= time && time <= each.end + this.#gapMs
    const touched = before.open.filter(near)
    if (touched.length === 0 && this.#closes(time) <= context.now) return false
    const aggregate = touched.map(each => each.aggregate).reduce(this.#merge, this.#create())
    change(aggregate)
    const start = Math.min(time, ...touched.map(each => each.start))
    const end = Math.max(time, ...touched.map(each => each.end))
    const open = [...before.open.filter(each => !near(each)), { start, end, aggregate }].sort(
      (a, b) => a.start - b.start,
    )
    this.#keep(context, key, before.wake, open)
    return true
  }

  /** The windows that fell due, earliest first; undefined if the entry is not one of these. */
  closed(context: Timed, { at, id }: Due): Closed<Aggregate>[] | undefined {
    if (!id.startsWith(`${this.name}|`)) return undefined
    const key = id.slice(this.name.length + 1)
    const before = context.state<Sessions<Aggregate>>(this.name).get(key)
    const over = before?.open.filter(each => this.#closes(each.end) <= at) ?? []
    if (before) {
      const wake = before.wake <= at ? Number.POSITIVE_INFINITY : before.wake
      this.#keep(
        context,
        key,
        wake,
        before.open.filter(each => !over.includes(each)),
      )
    }
    return over.map(each => ({ ...each, key }))
  }

  #closes(end: number): number {
    return end + this.#gapMs + this.#graceMs
  }

  /** The schedule holds an entry no later than the first closing; one that comes too early looks again. */
  #keep(context: Timed, key: string, wake: number, open: readonly Open<Aggregate>[]): void {
    const first = Math.min(...open.map(each => this.#closes(each.end)))
    if (open.length > 0 && first < wake) context.schedule<true>().set(first, `${this.name}|${key}`, true as never)
    const kept = open.length === 0 ? undefined : { wake: Math.min(first, wake), open }
    context.state<Sessions<Aggregate>>(this.name).set(key, kept)
  }
}
