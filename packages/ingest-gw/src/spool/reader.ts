import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Message } from '@weft/transport'
import { decodeMessage, decodeRecordHead, KIND, RECORD_HEAD } from './format.ts'
import { type Fault, nextRecord, readRecord, type Scanned } from './scan.ts'
import type { SegmentFile } from './segments.ts'

/** Messages to be replayed together. `last` is the sequence up to which they go; what could not be read lies within. */
export interface Batch {
  readonly messages: readonly Message[]
  /** Of each message. */
  readonly sequences: readonly number[]
  readonly last: number
  /** When the first came into the spool. */
  readonly at: number | undefined
}

/** Reads segments from where each is read to, and passes over what was damaged, once it was told. */
export class SpoolReader {
  readonly #directory: string
  /** The spool's own, in order. */
  readonly #segments: readonly SegmentFile[]
  readonly #onFault: (fault: Fault) => void
  #expected: number
  #file: SegmentFile | undefined
  #handle: FileHandle | undefined

  constructor(directory: string, segments: readonly SegmentFile[], expected: number, onFault: (fault: Fault) => void) {
    this.#directory = directory
    this.#segments = segments
    this.#expected = expected
    this.#onFault = onFault
  }

  /** About `maxBytes` of one segment, a message at least; undefined when all was read. */
  async next(maxBytes: number): Promise<Batch | undefined> {
    const segment = this.#segments.find(({ offset, bytes }) => offset < bytes)
    if (!segment) return undefined
    let bytes = await this.#read(segment, Math.max(maxBytes, RECORD_HEAD)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (!bytes) return this.#gone(segment)
    const head = decodeRecordHead(bytes, 0)
    if (head && RECORD_HEAD + head.length > bytes.length) bytes = await this.#read(segment, RECORD_HEAD + head.length)
    const records = this.#recordsOf(bytes)
    if (records.length === 0) return this.#resume(segment)
    const to = records.at(-1)?.to as number
    segment.offset += to
    return this.#batch(records)
  }

  #recordsOf(bytes: Buffer): Scanned[] {
    const records: Scanned[] = []
    for (let at = 0; ; ) {
      const record = readRecord(bytes, at)
      if (record?.sequence !== this.#expected) return records
      records.push(record)
      this.#expected = record.last + 1
      at = record.to
    }
  }

  #batch(records: readonly Scanned[]): Batch {
    const messages = records.filter(({ kind }) => kind === KIND.message)
    return {
      messages: messages.map(({ body }) => decodeMessage(body)),
      sequences: messages.map(({ sequence }) => sequence),
      last: this.#expected - 1,
      at: messages[0]?.at,
    }
  }

  /** No record that was expected begins here: goes on with the next one that can be read, if there is one. */
  async #resume(segment: SegmentFile): Promise<Batch> {
    const { name, offset } = segment
    const rest = await this.#read(segment, segment.bytes)
    const found = nextRecord(rest, 0, this.#expected)
    const next = found?.sequence ?? Math.max(segment.next, this.#expected)
    // What was damaged when the spool was opened has been told, and so were gaps.
    if (!segment.damaged && found?.from !== 0) {
      const to = found ? offset + found.from : segment.bytes
      this.#onFault({ kind: 'damaged', segment: name, from: offset, to, first: this.#expected, last: next - 1 })
      segment.damaged = true
    }
    segment.offset = found ? offset + found.from : segment.bytes
    this.#expected = next
    return this.#batch([])
  }

  #gone(segment: SegmentFile): Batch {
    const { name, next } = segment
    this.#onFault({ kind: 'missing', segment: name, from: 0, to: 0, first: this.#expected, last: next - 1 })
    segment.offset = segment.bytes
    this.#expected = Math.max(next, this.#expected)
    return this.#batch([])
  }

  async #read(segment: SegmentFile, length: number): Promise<Buffer> {
    if (this.#file !== segment) {
      await this.close()
      this.#handle = await open(join(this.#directory, segment.name), 'r')
      this.#file = segment
    }
    const bytes = Buffer.allocUnsafe(Math.min(length, segment.bytes - segment.offset))
    let done = 0
    while (done < bytes.length) {
      const position = segment.offset + done
      const { bytesRead } = (await this.#handle?.read(bytes, done, bytes.length - done, position)) ?? { bytesRead: 0 }
      if (bytesRead === 0) break
      done += bytesRead
    }
    return bytes.subarray(0, done)
  }

  /** Of a segment that is about to go. */
  async leave(segment: SegmentFile): Promise<void> {
    if (this.#file === segment) await this.close()
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    this.#file = undefined
    await handle?.close()
  }
}
