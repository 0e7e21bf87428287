import { mkdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { type Message, WeftError } from '@weft/transport'
import { Cursor } from './cursor.ts'
import { encodeMessage, encodeRecord, encodeSegmentHead, KIND, RECORD_HEAD } from './format.ts'
import { lockDirectory } from './lock.ts'
import { type Batch, SpoolReader } from './reader.ts'
import { type Recovered, recover } from './recover.ts'
import type { Fault } from './scan.ts'
import { ActiveSegment, keepAside, type SegmentFile, setAside } from './segments.ts'

export interface SpoolOptions {
  /** Of this process alone; made if missing. */
  readonly directory: string
  /** The log that the messages are for. */
  readonly cluster: string
  /** Bytes of all segments. Default 1 GiB. */
  readonly maxBytes?: number
  /** Bytes of the disk that are left free. Default 256 MiB. */
  readonly reserveBytes?: number
  /** Of a segment: what is deleted at once. Default 16 MiB, and less for a small spool. */
  readonly segmentBytes?: number
  /** Called with each message that waits in it when it is opened, and when it came; in order, and awaited. */
  readonly onWaiting?: (message: Message, at: number) => Promise<void> | void
  readonly onFault?: (fault: Fault) => void
}

type Bounds = Required<Pick<SpoolOptions, 'directory' | 'cluster' | 'maxBytes' | 'reserveBytes' | 'segmentBytes'>>

interface Waiting {
  readonly bodies: readonly Uint8Array[]
  /** On disk. */
  readonly bytes: number
  readonly resolve: (written: Written) => void
  readonly reject: (error: unknown) => void
}

/** The sequences that messages were given, both inclusive. */
export interface Written {
  readonly first: number
  readonly last: number
}

/**
 * Messages on disk, in order, until the log has them. One write and one sync carry all that waits at that time. Nothing
 * is deleted before it was replayed.
 */
export class Spool implements AsyncDisposable {
  readonly #options: Bounds
  readonly #lock: Disposable
  readonly #cursor: Cursor
  readonly #segments: SegmentFile[]
  readonly #reader: SpoolReader
  #active: ActiveSegment | undefined
  #next: number
  #bytes: number
  /** Messages that are not replayed. */
  events: number
  /** When the oldest of them came, milliseconds since the epoch; undefined without any. */
  oldestAt: number | undefined
  #queue: Waiting[] = []
  #writing: Promise<void> | undefined

  private constructor(
    options: Bounds,
    lock: Disposable,
    cursor: Cursor,
    found: Recovered,
    onFault: (fault: Fault) => void,
  ) {
    this.#options = options
    this.#lock = lock
    this.#cursor = cursor
    this.#segments = found.segments
    this.#next = found.next
    this.#bytes = found.segments.reduce((sum, { bytes }) => sum + bytes, 0)
    this.events = found.events
    this.oldestAt = found.oldestAt
    this.#reader = new SpoolReader(options.directory, this.#segments, cursor.sequence + 1, onFault)
  }

  /**
   * Cuts what a crash has torn. What is damaged is told and passed over, and its segment is set aside in the end. Throws
   * for a directory that another process has, and for one with messages of another log.
   */
  static async open({
    directory,
    cluster,
    maxBytes = 1 << 30,
    reserveBytes = 256 << 20,
    segmentBytes = Math.min(16 << 20, Math.max(4096, Math.ceil(maxBytes / 16))),
    onWaiting = () => {},
    onFault = () => {},
  }: SpoolOptions): Promise<Spool> {
    await mkdir(directory, { recursive: true })
    await using opened = new AsyncDisposableStack()
    const lock = opened.use(await lockDirectory(directory))
    const cursor = opened.adopt(await Cursor.open(join(directory, 'replayed')), each => each.close())
    const found = await recover(directory, cluster, cursor.sequence, { onWaiting, onFault })
    // What is no longer there to be replayed must not be waited for.
    if (found.segments.length === 0 && found.next > cursor.sequence + 1) await cursor.move(found.next - 1)
    opened.move()
    const options = { directory, cluster, maxBytes, reserveBytes, segmentBytes }
    return new Spool(options, lock, cursor, found, onFault)
  }

  /** Everything that was written has been replayed, and nothing is being written. */
  get isEmpty(): boolean {
    return this.#cursor.sequence + 1 === this.#next && !this.#writing
  }

  /** On disk. */
  get bytes(): number {
    return this.#bytes
  }

  /** On disk and not yet read to be replayed. */
  get backlog(): number {
    return this.#segments.reduce((sum, { bytes, offset }) => sum + bytes - offset, 0)
  }

  /** Up to which sequence the log has it. */
  get replayed(): number {
    return this.#cursor.sequence
  }

  /** Resolves when the messages are on the disk; UNAVAILABLE when there is no room for them, or the disk fails. */
  write(messages: readonly Message[]): Promise<Written> {
    return new Promise((resolve, reject) => {
      const bodies = messages.map(encodeMessage)
      const bytes = bodies.reduce((sum, { length }) => sum + RECORD_HEAD + length, 0)
      this.#queue.push({ bodies, bytes, resolve, reject })
      this.#writing ??= this.#writeAll()
    })
  }

  async #writeAll(): Promise<void> {
    // In the next turn, so that all of this one go together.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#writeGroup(this.#takeGroup())
    this.#writing = undefined
  }

  /** As much as a segment is to have, or a single write that is larger. */
  #takeGroup(): Waiting[] {
    let bytes = 0
    let count = 0
    for (const waiting of this.#queue) {
      bytes += waiting.bytes
      if (count > 0 && bytes > this.#options.segmentBytes) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const at = Date.now()
    const taken: [Waiting, Written][] = []
    const records: Buffer[] = []
    let bytes = 0
    let next = this.#next
    try {
      const room = await this.#room()
      for (const waiting of group) {
        const first = next
        const own = waiting.bodies.map((body, n) => encodeRecord(KIND.message, first + n, at, body))
        if (bytes + waiting.bytes > room.bytes) {
          waiting.reject(new WeftError('UNAVAILABLE', room.why))
          continue
        }
        bytes += waiting.bytes
        next = first + own.length
        records.push(...own)
        taken.push([waiting, { first, last: next - 1 }])
      }
      if (taken.length === 0) return
      const active = await this.#activeSegment()
      await active.append(Buffer.concat(records, bytes), next)
    } catch (cause) {
      const error = new WeftError('UNAVAILABLE', 'the spool cannot be written', { cause })
      for (const [{ reject }] of taken) reject(error)
      // Where even asking for the room failed.
      for (const { reject } of group) reject(error)
      return
    }
    this.#next = next
    this.#bytes += bytes
    this.events += records.length
    this.oldestAt ??= at
    for (const [{ resolve }, written] of taken) resolve(written)
  }

  async #room(): Promise<{ bytes: number; why: string }> {
    const { directory, maxBytes, reserveBytes, cluster } = this.#options
    const { bavail, bsize } = await statfs(directory)
    const head = encodeSegmentHead(this.#next, cluster).length
    const bound = maxBytes - this.#bytes - head
    const disk = bavail * bsize - reserveBytes - head
    return bound < disk
      ? { bytes: bound, why: `the spool holds ${this.#bytes} bytes and may hold ${maxBytes}` }
      : { bytes: disk, why: `the disk of the spool has no more than the ${reserveBytes} bytes left that stay free` }
  }

  async #activeSegment(): Promise<ActiveSegment> {
    if (this.#active && this.#active.file.bytes < this.#options.segmentBytes) return this.#active
    const { directory, cluster } = this.#options
    const made = await ActiveSegment.create(directory, this.#next, cluster)
    await this.#active?.close()
    this.#active = made
    this.#segments.push(made.file)
    this.#bytes += made.file.bytes
    return made
  }

  /** The next messages to be replayed, about `maxBytes` of them; undefined if there are none. */
  async next(maxBytes: number): Promise<Batch | undefined> {
    const batch = await this.#reader.next(maxBytes)
    this.oldestAt = batch?.at ?? (this.events === 0 ? undefined : this.oldestAt)
    return batch
  }

  /** The log has everything up to there: marks it and deletes the segments that hold nothing else. */
  async done(last: number, messages: number): Promise<void> {
    await this.#cursor.move(last)
    this.events -= messages
    if (this.events === 0) this.oldestAt = undefined
    const { directory } = this.#options
    for (let first = this.#segments[0]; first && first.next <= last + 1; first = this.#segments[0]) {
      const active = first === this.#active?.file ? this.#active : undefined
      // Into one that is being written, or is to be written anew under its name, something may still come.
      if (active && (this.#writing || active.isBlank)) return
      this.#segments.shift()
      this.#bytes -= first.bytes
      if (active) this.#active = undefined
      await active?.close()
      await this.#reader.leave(first)
      if (first.damaged) await setAside(directory, first.name)
      else await rm(join(directory, first.name), { force: true })
    }
  }

  /** Keeps for a person what the log refuses for good; resolves to the file, which is a segment of its own. */
  async setAside(message: Message, sequence: number): Promise<string> {
    const { directory, cluster } = this.#options
    return keepAside(directory, sequence, [
      encodeSegmentHead(sequence, cluster),
      encodeRecord(KIND.message, sequence, Date.now(), encodeMessage(message)),
    ])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing
    await this.#reader.close()
    await this.#active?.close()
    await this.#cursor.close()
    this.#lock[Symbol.dispose]()
  }
}
