import type { Place } from './driver.ts'

/** Places as Kafka's requests name them: a topic once, with what `map` makes of each of its partitions. */
export function byTopic<P extends Place, T>(
  places: readonly P[],
  map: (place: P) => T,
): [topic: string, partitions: T[]][] {
  const topics = new Map<string, T[]>()
  for (const place of places) {
    const partitions = topics.get(place.topic)
    if (partitions) partitions.push(map(place))
    else topics.set(place.topic, [map(place)])
  }
  return [...topics]
}

/** The same bytes, not copied. */
export const buffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
