import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeSegmentHead, segmentName } from './format.ts'

/** A segment as its spool knows it. */
export interface SegmentFile {
  readonly name: string
  /** Sequence behind its last record. */
  next: number
  /** Bytes that are synced. */
  bytes: number
  /** Where what is not replayed yet begins. */
  offset: number
  /** Something in it cannot be read: it is set aside, not deleted, when the rest of it was replayed. */
  damaged: boolean
}

/** Where damaged segments and refused messages are kept. */
export const SET_ASIDE = 'set-aside'

/** The segment that is being written: appends and syncs, and what could not be synced is cut off again. */
export class ActiveSegment {
  readonly file: SegmentFile
  readonly #handle: FileHandle
  readonly #blank: number
  #cut = false

  private constructor(file: SegmentFile, handle: FileHandle) {
    this.file = file
    this.#handle = handle
    this.#blank = file.bytes
  }

  static async create(directory: string, first: number, cluster: string): Promise<ActiveSegment> {
    const name = segmentName(first)
    const path = join(directory, name)
    // In the way can only be one without a record, which a crash has left.
    const handle = await open(path, 'w')
    try {
      const head = encodeSegmentHead(first, cluster)
      await writeAll(handle, head, 0)
      await handle.datasync()
      await syncDirectory(directory)
      const file = { name, next: first, bytes: head.length, offset: head.length, damaged: false }
      return new ActiveSegment(file, handle)
    } catch (error) {
      await handle.close()
      await rm(path, { force: true })
      throw error
    }
  }

  /** That it has no record. */
  get isBlank(): boolean {
    return this.file.bytes === this.#blank
  }

  /** Resolves when the bytes are on the disk; if it rejects, none of them counts. */
  async append(bytes: Buffer, next: number): Promise<void> {
    const { file } = this
    // What a failed write has left would be read as records, or as damage, after a crash.
    if (this.#cut) await this.#handle.truncate(file.bytes)
    this.#cut = true
    try {
      await writeAll(this.#handle, bytes, file.bytes)
      await this.#handle.datasync()
    } catch (error) {
      await this.#handle.truncate(file.bytes).catch(() => undefined)
      throw error
    }
    this.#cut = false
    file.bytes += bytes.length
    file.next = next
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** A file that was made, renamed or removed is so after a power cut only when its directory was synced. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Moves a file of the spool to where damage is kept; resolves to its place there. */
export async function setAside(directory: string, name: string): Promise<string> {
  const place = await placeAside(directory, name)
  await rename(join(directory, name), place)
  await syncDirectory(join(directory, SET_ASIDE))
  await syncDirectory(directory)
  return place
}

/** Writes a file there. */
export async function keepAside(directory: string, first: number, parts: readonly Buffer[]): Promise<string> {
  const place = await placeAside(directory, segmentName(first))
  await writeSynced(place, Buffer.concat(parts))
  await syncDirectory(join(directory, SET_ASIDE))
  return place
}

export async function writeSynced(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, 'w')
  try {
    await writeAll(handle, bytes, 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function placeAside(directory: string, name: string): Promise<string> {
  await mkdir(join(directory, SET_ASIDE), { recursive: true })
  return join(directory, SET_ASIDE, `${new Date().toISOString().replaceAll(':', '-')}-${name}`)
}
