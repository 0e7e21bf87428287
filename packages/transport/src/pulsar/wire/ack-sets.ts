import type { MessageId } from './commands.ts'

/** One id for each entry: its messages that are not named stay set. */
export function merged(ids: readonly MessageId[]): readonly MessageId[] {
  const entries = new Map<string, { id: MessageId; left: bigint[] | undefined }>()
  for (const id of ids) {
    const name = `${id.ledgerId}:${id.entryId}`
    const entry = entries.get(name) ?? { id, left: allOf(id) }
    entries.set(name, entry)
    if (!entry.left || id.batchIndex === undefined) entry.left = undefined
    else {
      const word = Math.floor(id.batchIndex / 64)
      entry.left[word] = (entry.left[word] ?? 0n) & ~(1n << BigInt(id.batchIndex % 64))
    }
  }
  return [...entries.values()].map(({ id: { ledgerId, entryId, batchSize }, left }) =>
    left?.some(word => word !== 0n)
      ? { ledgerId, entryId, ackSet: left.map(word => BigInt.asIntN(64, word)), batchSize }
      : { ledgerId, entryId },
  )
}

/** A batch with the messages behind `id` left. */
export function upTo(id: MessageId): MessageId {
  const { ledgerId, entryId, batchIndex, batchSize } = id
  const left = allOf(id)
  if (!left || batchIndex === undefined || batchIndex + 1 === batchSize) return { ledgerId, entryId }
  for (let index = 0; index <= batchIndex; index++) {
    const word = Math.floor(index / 64)
    left[word] = (left[word] ?? 0n) & ~(1n << BigInt(index % 64))
  }
  return { ledgerId, entryId, ackSet: left.map(word => BigInt.asIntN(64, word)), batchSize }
}

function allOf({ batchIndex, batchSize }: MessageId): bigint[] | undefined {
  if (batchIndex === undefined || batchSize === undefined || batchSize <= 1) return undefined
  return Array.from(
    { length: Math.ceil(batchSize / 64) },
    (_, word) => (1n << BigInt(Math.min(64, batchSize - word * 64))) - 1n,
  )
}
