import type { Message, Topic, Transport } from '@weft/transport'
import { faults } from './metrics.ts'
import type { Fault } from './scan.ts'
import { Spool } from './spool.ts'
import { SpooledLog, type SpooledLogOptions } from './spooled-log.ts'

export interface SpoolSettings {
  /** Of this gateway alone. */
  readonly directory: string
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
  log,
  patienceMs,
  ...rest
}: Opening): Promise<SpooledLog> {
  const spool = await Spool.open({
    ...rest,
    cluster: transport.cluster,
    onWaiting: (message, at) => index.remember(message, at),
    onFault: fault => {
      faults.inc({ kind: fault.kind })
      if (fault.kind === 'torn') log?.warn(fault, 'the spool ended within a record that was never promised: it is cut')
      else log?.error(fault, `the spool is ${fault.kind === 'missing' ? 'incomplete' : 'damaged'}: ${inWords(fault)}`)
    },
  })
  if (spool.events > 0) log?.info({ events: spool.events, bytes: spool.bytes }, 'events wait in the spool')
  return new SpooledLog({ transport, topic, spool, ...(patienceMs && { patienceMs }), ...(log && { log }) })
}

/** Where and what, for a person. */
export function inWords({ kind, segment, from, to, first, last }: Fault): string {
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
