import { readdir, readFile, rename, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { HEADERS, headerOf, WeftError } from '@weft/transport'
import { newest } from './cursor.ts'
import { decodeMessage, encodeGivenUp, encodeRecord, encodeSegmentHead, KIND, segmentName } from './format.ts'
import { lockDirectory } from './lock.ts'
import { type Fault, type Segment, scanSegments } from './scan.ts'
import { SET_ASIDE, setAside, syncDirectory, writeSynced } from './segments.ts'

/** What a spool's directory holds. */
export interface SpoolReport {
  readonly directory: string
  /** The log that the events are for; undefined without a segment that tells. */
  readonly cluster?: string
  readonly segments: number
  /** Of all segments. */
  readonly bytes: number
  /** Events that wait for the log. */
  readonly waiting: number
  /** Events in the segments that the log has already. */
  readonly replayed: number
  /** When the oldest that waits came, milliseconds since the epoch. */
  readonly oldestAt?: number
  /** Waiting events of each tenant. */
  readonly tenants: Readonly<Record<string, number>>
  readonly faults: readonly Fault[]
  /** That the mark of what was replayed cannot be read: all that is there would be replayed again. */
  readonly markLost: boolean
  /** Sequences that an earlier repair has given up. */
  readonly givenUp: number
  /** Damaged segments and refused events that were kept for a person. */
  readonly setAside: readonly { readonly name: string; readonly bytes: number }[]
}

/** What a repair did to a file. Nothing is lost by it but what is torn; everything else is kept in `place`. */
export interface SpoolRepair {
  readonly segment: string
  /** cut: a torn end was removed. rewritten: without what is damaged, the original kept. marked: what is missing is given up. */
  readonly action: 'cut' | 'rewritten' | 'marked'
  /** Bytes that were cut off. */
  readonly bytes?: number
  /** Sequences that were given up, both inclusive. */
  readonly givenUp?: readonly (readonly [first: number, last: number])[]
  readonly place?: string
}

/** Reads every record; changes nothing, and may be called while a gateway is at work. NOT_FOUND if there is no such directory. */
export async function verifySpool(directory: string): Promise<SpoolReport> {
  const names = await readdir(directory).catch(() => undefined)
  if (!names) throw new WeftError('NOT_FOUND', `there is no spool in ${directory}`)
  const mark = await readFile(join(directory, 'replayed')).catch(() => Buffer.alloc(0))
  const { sequence: replayedTo, turn } = newest(mark)
  const tenants: Record<string, number> = {}
  const faults: Fault[] = []
  const counts = { segments: 0, bytes: 0, waiting: 0, replayed: 0, givenUp: 0 }
  let oldestAt: number | undefined
  let cluster: string | undefined
  for await (const segment of scanSegments(directory)) {
    counts.segments++
    counts.bytes += segment.bytes
    cluster ||= segment.cluster
    faults.push(...segment.faults)
    for (const { kind, at, body, sequence, last } of segment.records) {
      if (kind !== KIND.message) counts.givenUp += last - sequence + 1
      else if (sequence <= replayedTo) counts.replayed++
      else {
        counts.waiting++
        oldestAt ??= at
        const tenant = headerOf(decodeMessage(body), HEADERS.tenant) ?? ''
        tenants[tenant] = (tenants[tenant] ?? 0) + 1
      }
    }
  }
  const markLost = mark.some(byte => byte !== 0) && turn === 0
  const aside = await filesOf(join(directory, SET_ASIDE))
  return {
    directory,
    ...(cluster && { cluster }),
    ...counts,
    ...(oldestAt !== undefined && { oldestAt }),
    tenants,
    faults,
    markLost,
    setAside: aside,
  }
}

async function filesOf(directory: string): Promise<{ name: string; bytes: number }[]> {
  const names = (await readdir(directory).catch((): string[] => [])).sort()
  return Promise.all(names.map(async name => ({ name, bytes: (await stat(join(directory, name))).size })))
}

/**
 * Cuts what is torn, and writes damaged segments anew with what can be read of them; the originals are set aside. What is
 * gone is marked as given up, so that it is told no more. Refused while a gateway has the spool.
 */
export async function repairSpool(directory: string): Promise<readonly SpoolRepair[]> {
  using _lock = await lockDirectory(directory)
  const repairs: SpoolRepair[] = []
  const damaged: Segment[] = []
  let cluster = ''
  for await (const segment of scanSegments(directory)) {
    cluster ||= segment.cluster ?? ''
    const torn = segment.faults.find(({ kind }) => kind === 'torn')
    if (torn && segment.faults.length === 1) repairs.push(await cut(directory, segment, torn))
    else if (segment.faults.length > 0) damaged.push(segment)
  }
  for (const segment of damaged) repairs.push(...(await rewrite(directory, segment, segment.cluster ?? cluster)))
  if (repairs.length > 0) await syncDirectory(directory)
  return repairs
}

async function cut(directory: string, { name, records, bytes }: Segment, { from }: Fault): Promise<SpoolRepair> {
  if (records.length > 0) await truncate(join(directory, name), from)
  else await rm(join(directory, name))
  return { segment: name, action: 'cut', bytes: bytes - (records.length > 0 ? from : 0) }
}

async function rewrite(directory: string, segment: Segment, cluster: string): Promise<SpoolRepair[]> {
  const repairs: SpoolRepair[] = []
  const giveUp = (first: number, last: number) => encodeRecord(KIND.givenUp, first, Date.now(), encodeGivenUp(last))
  const before = segment.faults.find(({ kind, last }) => kind === 'missing' && last < segment.first)
  if (before) {
    const { first, last } = before
    const name = segmentName(first)
    await replace(directory, name, [encodeSegmentHead(first, cluster), giveUp(first, last)])
    repairs.push({ segment: name, action: 'marked', givenUp: [[first, last]] })
  }
  const within = segment.faults.filter(fault => fault !== before)
  if (within.length === 0) return repairs
  const records = segment.records.map(({ kind, sequence, at, body }) => encodeRecord(kind, sequence, at, body))
  const lost = within.filter(({ first, last }) => last >= first)
  for (const { first, last } of lost) {
    const place = segment.records.findIndex(({ sequence }) => sequence > last)
    const others = lost.filter(fault => fault.first < first).length
    records.splice(place + others, 0, giveUp(first, last))
  }
  const kept = await setAside(directory, segment.name)
  if (records.length > 0)
    await replace(directory, segment.name, [encodeSegmentHead(segment.first, cluster), ...records])
  const givenUp = lost.map(({ first, last }) => [first, last] as const)
  repairs.push({ segment: segment.name, action: 'rewritten', givenUp, place: kept })
  return repairs
}

/** Whole, or not at all. */
async function replace(directory: string, name: string, parts: readonly Buffer[]): Promise<void> {
  const made = join(directory, `${name}.new`)
  await writeSynced(made, Buffer.concat(parts))
  await rename(made, join(directory, name))
}
