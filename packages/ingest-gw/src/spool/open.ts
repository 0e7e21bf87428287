import type { Message, Topic, Transport } from '@weft/transport'
import { SpoolInUse } from './lock.ts'
import { faults } from './metrics.ts'
import type { Fault } from './scan.ts'
import { Spool, type SpoolOptions } from './spool.ts'
import { SpooledLog, type SpooledLogOptions } from './spooled-log.ts'

export interface SpoolSettings {
  /** Of this gateway alone; refused while another has it. */
  readonly directory: string
  /** Takes the first free of `directory`-1, -2 and so on instead: several gateways beside each other. Default false. */
  readonly numbered?: boolean
  /** Bytes on disk. Default 1 GiB. */
  readonly maxBytes?: number
  /** Bytes that stay free on the disk. Default 256 MiB. */
  readonly reserveBytes?: number
  /** So long an append may take before its events are spooled. Default 3 s. */
  readonly patienceMs?: number
}

interface Opening extends SpoolSettings {
  readonly transport: Transport
  readonly topic: Topic
  /** Is told the events that wait in the spool already: their ids are used. */
  readonly index: { remember(message: Message, at: number): Promise<void> | undefined }
  readonly onReplayed: () => void
  readonly log?: NonNullable<SpooledLogOptions['log']>
}

/**
 * The log with a spool before it. What waits in the spool is replayed from now on, while events are taken already: they
 * go behind it, so nothing would be gained by refusing them.
 */
export async function openSpooledLog({
  transport,
  topic,
  index,
  onReplayed,
  log,
  patienceMs,
  directory,
  numbered = false,
  ...rest
}: Opening): Promise<SpooledLog> {
  const spool = await openFree(directory, numbered, {
    ...rest,
    cluster: transport.cluster,
    onWaiting: (message, at) => index.remember(message, at),
    onFault: fault => {
      faults.inc({ kind: fault.kind })
      if (fault.kind === 'torn') log?.warn(fault, 'the spool ended within a record that was never promised: it is cut')
      else
        log?.error(
          fault,
          `the spool is ${fault.kind === 'missing' ? 'incomplete' : 'damaged'}: ${describeFault(fault)}`,
        )
    },
  })
  if (spool.events > 0) log?.info({ events: spool.events, bytes: spool.bytes }, 'events wait in the spool')
  return new SpooledLog({ transport, topic, spool, onReplayed, ...(patienceMs && { patienceMs }), ...(log && { log }) })
}

/** More than will ever run on one machine. */
const MOST = 256

async function openFree(
  directory: string,
  numbered: boolean,
  options: Omit<SpoolOptions, 'directory'>,
): Promise<Spool> {
  if (!numbered) return Spool.open({ ...options, directory })
  for (let number = 1; ; number++) {
    try {
      return await Spool.open({ ...options, directory: `${directory}-${number}` })
    } catch (error) {
      if (!(error instanceof SpoolInUse) || number === MOST) throw error
    }
  }
}

/** Where and what, for a person. */
export function describeFault({ kind, segment, from, to, first, last }: Fault): string {
  const which =
    last < first
      ? `what came from record ${first} on`
      : first === last
        ? `record ${first}`
        : `records ${first} to ${last}`
  const where = to > from ? `${segment}, bytes ${from} to ${to}` : segment
  const what = { torn: 'is cut short', damaged: 'cannot be read', missing: 'is missing' }[kind]
  return last < first && from === 0 ? `the head of ${where} ${what}` : `${which} (${where}) ${what}`
}
