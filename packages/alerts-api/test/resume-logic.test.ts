import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeCursor } from '../src/cursor.ts'
import { type Filter, matches, parseFilter } from '../src/filter.ts'
import type { Alert, Frame } from '../src/frame.ts'
import { type Logged, type Piece, Pursuit } from '../src/pursuit.ts'
import { Tape } from '../src/tape.ts'
import type { Compare, Vector } from '../src/vector.ts'

const PARTITIONS = 3
const compare: Compare = (_, a, b) => Number(a) - Number(b)

/** Numbers below 2^32, the same for the same seed. */
function randomOf(seed: number) {
  let state = seed >>> 0
  return (below: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return ((state ^ (state >>> 13)) >>> 0) % below
  }
}
type Random = ReturnType<typeof randomOf>

/** A log of several partitions; each third record is a tick and no alert. Positions are 1, 2, 3… */
class Log {
  readonly partitions: Logged[][] = Array.from({ length: PARTITIONS }, () => [])
  #grown = Promise.withResolvers<void>()

  append(partition: number, random: Random): void {
    const records = this.partitions[partition] as Logged[]
    const at = String(records.length + 1)
    const severity = (['info', 'warning', 'critical'] as const)[random(3)]
    const alert = {
      alert_id: `${partition}-${at}`,
      store_id: 'aurora',
      severity,
      rule: 'r',
      entity: 'e',
      state: 'raised',
    }
    records.push({ partition, at, appendedAt: 0, alert: random(3) === 0 ? undefined : (alert as Alert) })
    this.#grown.resolve()
    this.#grown = Promise.withResolvers()
  }

  /** Merges in an order of its own. */
  async *read(after: Vector, random: Random, signal: AbortSignal): AsyncGenerator<Logged[]> {
    const next = after.map(Number)
    while (!signal.aborted) {
      const batch: Logged[] = []
      for (let count = random(6); count > 0; count--) {
        const partition = random(PARTITIONS)
        const record = this.partitions[partition]?.[next[partition] as number]
        if (!record) continue
        batch.push(record)
        next[partition] = (next[partition] as number) + 1
      }
      const done = next.every((at, partition) => at === this.partitions[partition]?.length)
      if (batch.length > 0) yield batch
      else if (done)
        await Promise.race([this.#grown.promise, new Promise(wake => signal.addEventListener('abort', wake))])
    }
  }
}

class Instance {
  readonly log: Log
  readonly tape: Tape
  readonly joined = new Set<(frame: Frame) => void>()
  readonly #random: Random
  #unsent: Frame[] = []

  constructor(log: Log, random: Random) {
    this.log = log
    this.#random = random
    const start = log.partitions.map(records => String(random(records.length + 1)))
    this.tape = new Tape('cl.1', start, compare, 6000)
  }

  advance(): void {
    for (let count = this.#random(8); count > 0; count--) {
      const partition = this.#random(PARTITIONS)
      const record = this.log.partitions[partition]?.[Number(this.tape.vector[partition])]
      if (!record) continue
      const frame = this.tape.push(record, record.alert)
      if (frame) this.#unsent.push(frame)
    }
    if (this.#random(2) === 0) return
    this.tape.setMark()
    for (const frame of this.#unsent.splice(0)) for (const take of this.joined) take(frame)
  }

  pursue(filter: Filter, vector: Vector): Pursuit {
    return new Pursuit(this.tape, (after, signal) => this.log.read(after, this.#random, signal), filter, vector)
  }
}

/** Follows instances one after the other, with nothing in hand but the last cursor. */
class Client {
  readonly seen: string[] = []
  cursor: string
  arrivals = 0
  readonly filter: Filter
  readonly random: Random

  constructor(cursor: string, filter: Filter, random: Random) {
    this.random = random
    this.cursor = cursor
    this.filter = filter
  }

  take({ frame, cursor }: Piece): void {
    const id = /^id: (.*)\n/.exec(frame.sse(cursor).toString())?.[1] as string
    this.seen.push(JSON.parse(frame.json.toString()).alert_id)
    this.cursor = id
  }

  async follow(instance: Instance, turns: number, advance: () => void): Promise<void> {
    const pursuit = instance.pursue(this.filter, decodeCursor(this.cursor, 'cl.1', PARTITIONS) as Vector)
    let pulling: Promise<void> | undefined
    let live: ((frame: Frame) => void) | undefined
    let broken = false
    for (let turn = 0; turn < turns && !broken; turn++) {
      if (!live && !pulling && pursuit.arrived) {
        this.arrivals++
        this.cursor = pursuit.cursor
        live = frame => matches(this.filter, frame) && this.take({ frame, cursor: undefined })
        instance.joined.add(live)
      } else if (!live && !pulling) {
        pulling = pursuit.pull(400).then(pieces => {
          pulling = undefined
          // The connection may break after any frame; then the id of that frame is all there is.
          const kept = this.random(3) === 0 ? this.random(pieces.length + 1) : pieces.length
          for (const piece of pieces.slice(0, kept)) this.take(piece)
          broken = kept < pieces.length
          if (!broken && this.random(3) === 0) this.cursor = pursuit.cursor
        })
      }
      await new Promise(setImmediate)
      advance()
    }
    pursuit.stop()
    if (live) instance.joined.delete(live)
    await pulling
  }
}

const expected = (log: Log, filter: Filter, partition: number) =>
  (log.partitions[partition] as Logged[]).flatMap(({ alert }) =>
    alert && matches(filter, { ...alert, tenant: 'aurora' }) ? [alert.alert_id] : [],
  )

test('a client that hops between instances of different merge orders sees each alert once, in order', async () => {
  let arrivals = 0
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 2 ** 31 }),
      fc.constantFrom('', 'critical', 'info,warning'),
      async (seed, severity) => {
        const random = randomOf(seed)
        const log = new Log()
        for (let count = random(60); count > 0; count--) log.append(random(PARTITIONS), random)
        const instances = [new Instance(log, randomOf(seed + 1)), new Instance(log, randomOf(seed + 2))]
        const client = new Client('c1.cl~2e1.0:0,1:0,2:0', parseFilter({ severity }), random)
        const advance = () => {
          if (random(3) === 0) log.append(random(PARTITIONS), random)
          for (const instance of instances) if (random(3) > 0) instance.advance()
        }
        for (let hop = 0; hop < 12; hop++) await client.follow(instances[random(2)] as Instance, random(25), advance)
        // A last instance that has just started reads all that is missing from the log.
        const last = new Instance(log, random)
        const quiet = () => last.advance()
        for (let turns = 0; turns < 60; turns++) await client.follow(last, 10, quiet)
        arrivals += client.arrivals
        for (let partition = 0; partition < PARTITIONS; partition++)
          expect(client.seen.filter(id => id.startsWith(`${partition}-`))).toEqual(
            expected(log, client.filter, partition),
          )
      },
    ),
    { numRuns: 120 },
  )
  expect(arrivals).toBeGreaterThan(1000)
})
