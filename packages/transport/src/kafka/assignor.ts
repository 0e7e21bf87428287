/** A member as the leader of its group sees it. */
export interface Candidate {
  readonly id: string
  /** Members share partitions with those that read the same topics. */
  readonly topics: readonly string[]
  readonly partitions: number
  /** What it has, and keeps until it is told to give it up. */
  readonly owned: readonly number[]
  readonly exclusive: boolean
  /** How many copies of each partition's state others are to keep, and those that this one keeps. */
  readonly standbys?: number
  readonly warm?: readonly number[]
  /** Milliseconds since the epoch: among exclusive members the first one stays. */
  readonly since: number
}

export interface Share {
  /** To be had from now on. What another still holds is not among them: it comes when that one has let go of it. */
  readonly partitions: readonly number[]
  /** Those of others whose state it keeps a copy of. */
  readonly standby: readonly number[]
  /** An exclusive member that is one too many. */
  readonly refused: boolean
}

/**
 * Who gets what: as even as it can be, and nobody gives up more than that takes. Partition n of all the topics of a
 * member goes to one owner.
 */
export function assign(candidates: readonly Candidate[]): Map<string, Share> {
  const shares = new Map<string, Share>()
  for (const members of Map.groupBy(candidates, ({ topics }) => JSON.stringify(topics.toSorted())).values()) {
    const exclusive = members.some(member => member.exclusive)
    const eligible = exclusive ? [incumbent(members)] : members
    const given = spread(eligible)
    const standby = copies(eligible, given)
    for (const [id, partitions] of given) shares.set(id, { partitions, standby: standby.get(id) ?? [], refused: false })
    for (const { id } of members)
      if (!shares.has(id)) shares.set(id, { partitions: [], standby: [], refused: exclusive })
  }
  return shares
}

const incumbent = (members: readonly Candidate[]): Candidate =>
  members.toSorted(
    (a, b) => Math.sign(b.owned.length) - Math.sign(a.owned.length) || a.since - b.since || (a.id < b.id ? -1 : 1),
  )[0] as Candidate

function spread(members: readonly Candidate[]): Map<string, number[]> {
  const count = Math.max(...members.map(({ partitions }) => partitions))
  const holders = new Map<number, string>()
  for (const { id, owned } of members)
    for (const partition of owned) if (partition < count && !holders.has(partition)) holders.set(partition, id)
  const held = (id: string) => [...holders].filter(([, holder]) => holder === id).map(([partition]) => partition)
  const ordered = members
    .map(({ id }) => ({ id, kept: held(id).sort((a, b) => a - b) }))
    .sort((a, b) => b.kept.length - a.kept.length || (a.id < b.id ? -1 : 1))
  const [least, more] = [Math.floor(count / members.length), count % members.length]
  const wanted = ordered.map(({ id, kept }, i) => ({ id, quota: least + (i < more ? 1 : 0), kept }))
  const stay = new Map(wanted.map(({ id, kept, quota }) => [id, kept.slice(0, quota)]))
  const staying = new Set([...stay.values()].flat())
  const free = Array.from({ length: count }, (_, i) => i).filter(partition => !staying.has(partition))
  const getting = new Map(wanted.map(({ id, quota }) => [id, quota - (stay.get(id) as number[]).length]))
  const give = (id: string, partition: number) => {
    free.splice(free.indexOf(partition), 1)
    getting.set(id, (getting.get(id) as number) - 1)
    if (!holders.has(partition)) stay.get(id)?.push(partition)
  }
  // Whoever has a copy of its state comes first.
  for (const { id, warm = [] } of members)
    for (const partition of warm) if (getting.get(id) && free.includes(partition)) give(id, partition)
  for (const { id } of wanted) for (const partition of free.slice(0, getting.get(id))) give(id, partition)
  return stay
}

/** Who keeps copies of which partitions' state: about evenly, and where one is already it rather stays. */
function copies(members: readonly Candidate[], given: ReadonlyMap<string, readonly number[]>): Map<string, number[]> {
  const shares = new Map(members.map(({ id }) => [id, [] as number[]]))
  const most = Math.min(members.length - 1, Math.max(...members.map(({ standbys = 0 }) => standbys)))
  const count = Math.max(...members.map(({ partitions }) => partitions))
  for (let partition = 0; partition < count && most > 0; partition++) {
    const others = members.filter(({ id, owned }) => !given.get(id)?.includes(partition) && !owned.includes(partition))
    const rank = ({ id, warm = [] }: Candidate) =>
      (shares.get(id) as number[]).length - (warm.includes(partition) ? 1 : 0)
    for (const { id } of others.toSorted((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1)).slice(0, most))
      shares.get(id)?.push(partition)
  }
  return shares
}
