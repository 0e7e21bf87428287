/** The 32-bit murmur2 that Kafka's clients use: seed 0x9747b28c, little-endian words. */
export function murmur2(data: Uint8Array): number {
  const length = data.length
  const words = length & ~3
  let h = 0x9747b28c ^ length
  for (let i = 0; i < words; i += 4) {
    let k = (data[i] as number) | ((data[i + 1] as number) << 8) | ((data[i + 2] as number) << 16)
    k |= (data[i + 3] as number) << 24
    k = Math.imul(k, 0x5bd1e995)
    k ^= k >>> 24
    h = Math.imul(h, 0x5bd1e995) ^ Math.imul(k, 0x5bd1e995)
  }
  const rest = length & 3
  if (rest === 3) h ^= (data[words + 2] as number) << 16
  if (rest >= 2) h ^= (data[words + 1] as number) << 8
  if (rest >= 1) {
    h ^= data[words] as number
    h = Math.imul(h, 0x5bd1e995)
  }
  h ^= h >>> 13
  h = Math.imul(h, 0x5bd1e995)
  return (h ^ (h >>> 15)) | 0
}

/** The partition of a key, as Kafka's default partitioner has it. */
export const partitionOf = (key: Uint8Array, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions
