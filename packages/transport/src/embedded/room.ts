import { closeSync, mkdirSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Kept free beyond what a transaction needs: other processes write too. */
const RESERVE = 1024 * 1024
const PAGE = 4096
const BYTE = Buffer.alloc(1)

/**
 * Asks the system whether a transaction will find room, before lmdb is given it: when a write of lmdb's own fails, it
 * formats the reason into a buffer that is too short (100 bytes in mdb_page_flush of lmdb 3.5.6) and spoils the heap.
 */
export class Room {
  readonly #data: string
  readonly #path: string
  #file: number | undefined

  /** `path`: of a file that this may write, on the same disk. It stays sparse. */
  constructor(directory: string, path: string) {
    this.#data = join(directory, 'data.mdb')
    this.#path = path
  }

  /** Throws what the system says if `bytes` more in `entries` entries would not fit on the disk or into the file. */
  check(bytes: number, entries: number): void {
    const needed = bytes + (entries + 64) * 2 * PAGE
    const { bavail, bsize } = statfsSync(this.#data)
    if (bavail * bsize < needed + RESERVE)
      throw new Error(`the disk is full: ${bavail * bsize} bytes are free, ${needed + RESERVE} are needed`)
    if (this.#file === undefined) {
      mkdirSync(join(this.#path, '..'), { recursive: true })
      this.#file = openSync(this.#path, 'w')
    }
    // A limit to the size of files shows only to whoever writes behind it.
    writeSync(this.#file, BYTE, 0, 1, statSync(this.#data).size + needed)
  }

  close(): void {
    if (this.#file === undefined) return
    closeSync(this.#file)
    this.#file = undefined
    rmSync(this.#path, { force: true })
  }
}
