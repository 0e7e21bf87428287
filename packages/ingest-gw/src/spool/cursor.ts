import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

const SLOT = 20

/**
 * Up to which sequence a spool was replayed, on disk: two slots written in turn, so that one is whole whenever a write
 * is cut short. A crash between a replay and its mark repeats the replay; event ids tell the double.
 */
export class Cursor {
  readonly #file: FileHandle
  #turn: number
  sequence: number

  private constructor(file: FileHandle, { turn, sequence }: { turn: number; sequence: number }) {
    this.#file = file
    this.#turn = turn
    this.sequence = sequence
  }

  static async open(path: string): Promise<Cursor> {
    const file = await open(path, 'a+').then(async made => {
      await made.close()
      return open(path, 'r+')
    })
    const bytes = Buffer.alloc(2 * SLOT)
    await file.read(bytes, 0, bytes.length, 0)
    return new Cursor(file, newest(bytes))
  }

  async move(sequence: number): Promise<void> {
    const turn = this.#turn + 1
    const slot = Buffer.alloc(SLOT)
    slot.writeBigUInt64LE(BigInt(turn), 0)
    slot.writeBigUInt64LE(BigInt(sequence), 8)
    slot.writeUInt32LE(crc32(slot.subarray(0, 16)), 16)
    await this.#file.write(slot, 0, SLOT, (turn % 2) * SLOT)
    await this.#file.datasync()
    this.#turn = turn
    this.sequence = sequence
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** Of the bytes of a cursor's file: 0 where nothing was replayed, or no slot can be read. */
export function newest(bytes: Buffer): { turn: number; sequence: number } {
  let best = { turn: 0, sequence: 0 }
  for (let at = 0; at + SLOT <= bytes.length; at += SLOT) {
    const turn = Number(bytes.readBigUInt64LE(at))
    const whole = bytes.readUInt32LE(at + 16) === crc32(bytes.subarray(at, at + 16))
    if (whole && turn > best.turn) best = { turn, sequence: Number(bytes.readBigUInt64LE(at + 8)) }
  }
  return best
}
