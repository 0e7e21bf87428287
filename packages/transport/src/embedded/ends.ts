/** What is known of a partition without looking into its log. */
export interface PartitionEnds {
  readonly first: number
  readonly next: number
  /** Of the batches it holds. */
  readonly bytes: number
  /** Of the newest record, milliseconds since the epoch. */
  readonly appendedAt: number
}

export const NO_RECORDS: PartitionEnds = { first: 0, next: 0, bytes: 0, appendedAt: 0 }

export function encodeEnds(ends: PartitionEnds): Buffer {
  const bytes = Buffer.allocUnsafe(32)
  bytes.writeDoubleLE(ends.first, 0)
  bytes.writeDoubleLE(ends.next, 8)
  bytes.writeDoubleLE(ends.bytes, 16)
  bytes.writeDoubleLE(ends.appendedAt, 24)
  return bytes
}

export function decodeEnds(bytes: Buffer): PartitionEnds {
  return {
    first: bytes.readDoubleLE(0),
    next: bytes.readDoubleLE(8),
    bytes: bytes.readDoubleLE(16),
    appendedAt: bytes.readDoubleLE(24),
  }
}
