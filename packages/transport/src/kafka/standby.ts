import { pause } from '../backoff.ts'
import { Bell } from './bell.ts'
import { changesOf, restore } from './changelog.ts'
import { type Cluster, nameOf } from './cluster.ts'
import { committed } from './committed.ts'
import type { Fetched, Lane, Place } from './driver.ts'
import type { PartitionState } from './local-state.ts'

const WAIT_MS = 500
const FETCH_BYTES = 4 * 1024 * 1024

interface Copy {
  readonly place: Place
  readonly state: PartitionState
  /** Where in the changelog it is; undefined until it has been brought there. */
  at: bigint | undefined
}

/** Keeps local copies of partitions' state that others own, so that whoever takes one over has little left to read. */
export class Standby implements AsyncDisposable {
  readonly #cluster: Cluster
  readonly #changelog: string
  readonly #stateOf: (partition: number) => PartitionState
  readonly #lane: Lane
  readonly #bell = new Bell()
  readonly #closed = new AbortController()
  readonly #copies = new Map<number, Copy>()
  readonly #running: Promise<void>

  constructor(cluster: Cluster, changelog: string, stateOf: (partition: number) => PartitionState) {
    this.#cluster = cluster
    this.#changelog = changelog
    this.#stateOf = stateOf
    this.#lane = cluster.driver.lane()
    this.#running = this.#run()
  }

  get partitions(): readonly number[] {
    return [...this.#copies.keys()]
  }

  /** From now on these and no others. */
  follow(partitions: ReadonlySet<number>): void {
    for (const partition of this.#copies.keys()) if (!partitions.has(partition)) this.#copies.delete(partition)
    for (const partition of partitions)
      if (!this.#copies.has(partition)) {
        const place = { topic: this.#changelog, partition }
        this.#copies.set(partition, { place, state: this.#stateOf(partition), at: undefined })
      }
    this.#bell.ring()
  }

  async #run(): Promise<void> {
    const { signal } = this.#closed
    for (let failures = 0; !signal.aborted; ) {
      const { rings } = this.#bell
      try {
        for (const copy of this.#copies.values())
          if (copy.at === undefined) copy.at = await restore(this.#cluster, copy.place, copy.state, signal)
        const ready = [...this.#copies.values()].filter(({ at }) => at !== undefined)
        // A group that has kept no state yet has no changelog.
        if (ready.length === 0) await this.#bell.after(rings, WAIT_MS)
        else await this.#fetch(ready)
        failures = 0
      } catch {
        // Nobody waits for it: it goes on when what is away is back.
        this.#cluster.forget(this.#changelog)
        await pause(Math.min(5_000, 50 * 2 ** failures++), signal)
      }
    }
  }

  async #fetch(ready: readonly Copy[]): Promise<void> {
    const brokers = await this.#cluster.byLeader(ready.map(({ place, at }) => ({ ...place, offset: at as bigint })))
    const maxBytes = FETCH_BYTES / ready.length
    const answers = await Promise.all(
      [...brokers].map(([broker, places]) =>
        this.#lane.fetch(broker, {
          places: places.map(place => ({ ...place, maxBytes: Math.ceil(maxBytes) })),
          maxWaitMs: WAIT_MS,
          maxBytes: FETCH_BYTES,
        }),
      ),
    )
    const found = new Map(answers.flat().map(each => [nameOf(each), each]))
    for (const copy of ready) {
      const fetched = found.get(nameOf(copy.place))
      // Whatever is wrong with it, bringing it there anew finds out.
      if (fetched && this.#copies.get(copy.place.partition) === copy && !(await take(copy, fetched)))
        copy.at = undefined
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort()
    this.#bell.ring()
    await this.#lane[Symbol.asyncDispose]()
    await this.#running
  }
}

/** False if the copy is not where it was thought to be. */
async function take(copy: Copy, fetched: Fetched): Promise<boolean> {
  const { at, state } = copy
  if (fetched.error !== undefined || at === undefined) return false
  const { batches, next } = committed(fetched, at)
  if (next === at) return true
  const records = batches.flatMap(batch => batch.records.filter(({ offset }) => offset >= at))
  if (!(await state.apply(changesOf(records), next, state.reflected === undefined ? undefined : at))) return false
  copy.at = next
  return true
}
