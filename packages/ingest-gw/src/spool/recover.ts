import { rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { type Message, WeftError } from '@weft/transport'
import { decodeMessage, KIND } from './format.ts'
import { type Fault, type Segment, scanSegments } from './scan.ts'
import { type SegmentFile, setAside, syncDirectory } from './segments.ts'

type OnWaiting = (message: Message, at: number) => Promise<void> | void

/** What a spool that was left behind holds. */
export interface Recovered {
  readonly segments: SegmentFile[]
  /** The next sequence to be given. */
  readonly next: number
  readonly events: number
  readonly oldestAt: number | undefined
}

/**
 * Looks at every record. Cuts what is torn, drops what is replayed, sets aside what cannot be read. INVALID when messages
 * of another log wait in it: nothing is touched then.
 */
export async function recover(
  directory: string,
  cluster: string,
  replayed: number,
  { onWaiting, onFault }: { onWaiting: OnWaiting; onFault: (fault: Fault) => void },
): Promise<Recovered> {
  const segments: SegmentFile[] = []
  let next = replayed + 1
  let events = 0
  let oldestAt: number | undefined
  for await (const segment of scanSegments(directory)) {
    const { name, first } = segment
    if (replayed > 0 && segments.length === 0 && first > next)
      onFault({ kind: 'missing', segment: name, from: 0, to: 0, first: next, last: first - 1 })
    const waiting = segment.records.filter(({ last }) => last > replayed)
    if (waiting.length > 0) requireLog(segment, cluster, directory)
    const damaged = segment.faults.some(({ kind }) => kind === 'damaged')
    for (const fault of segment.faults) onFault(fault)
    const torn = segment.faults.find(({ kind }) => kind === 'torn')
    next = Math.max(next, segment.next)
    if (waiting.length === 0) {
      if (damaged) await setAside(directory, segment.name)
      else await rm(join(directory, segment.name), { force: true })
      continue
    }
    if (torn) await truncate(join(directory, segment.name), torn.from)
    for (const { kind, at, body } of waiting) {
      if (kind !== KIND.message) continue
      events++
      oldestAt ??= at
      await onWaiting(decodeMessage(body), at)
    }
    const bytes = torn?.from ?? segment.bytes
    segments.push({ name: segment.name, next: segment.next, bytes, offset: waiting[0]?.from ?? bytes, damaged })
  }
  await syncDirectory(directory)
  return { segments, next, events, oldestAt }
}

function requireLog({ cluster }: Segment, expected: string, directory: string): void {
  if (cluster === undefined || cluster === '' || cluster === expected) return
  throw new WeftError(
    'INVALID',
    `events wait in the spool ${directory} for the log ${cluster}, and this is ${expected}: start with that log until ` +
      'they are replayed, or name another directory',
  )
}
