import type { Position, Transport } from '@weft/transport'

/** One place per partition of the alerts' topic: index = partition, text = the position after which things are yet to come. */
export type Vector = string[]

/** Below 0 if `a` lies before `b` in that partition, 0 if they are the same place. */
export type Compare = (partition: number, a: string, b: string) => number

export const comparing =
  (transport: Pick<Transport, 'compare'>): Compare =>
  (partition, a, b) =>
    a === b ? 0 : transport.compare({ partition, at: a }, { partition, at: b })

/** Whether everything at or before `b` lies at or before `a`, in each partition. */
export const covers = (a: Vector, b: Vector, compare: Compare): boolean =>
  a.every((at, partition) => compare(partition, at, b[partition] as string) >= 0)

/** The later place of each partition. */
export const latest = (a: Vector, b: Vector, compare: Compare): Vector =>
  a.map((at, partition) => (compare(partition, at, b[partition] as string) >= 0 ? at : (b[partition] as string)))

/** The earlier place of each partition. */
export const earlier = (a: Vector, b: Vector, compare: Compare): Vector =>
  a.map((at, partition) => (compare(partition, at, b[partition] as string) <= 0 ? at : (b[partition] as string)))

export const toPositions = (vector: Vector): Position[] => vector.map((at, partition) => ({ partition, at }))

export function toVector(positions: readonly Position[]): Vector {
  const vector: Vector = []
  for (const { partition, at } of positions) vector[partition] = at
  return vector
}
