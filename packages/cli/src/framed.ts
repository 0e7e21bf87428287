import type { Catalogue } from '@weft/schema'
import { type Received, type Transport, WeftError } from '@weft/transport'
import { EXIT, Exit } from './exit.ts'
import { isTick } from './records.ts'

const RAW = { name: 'events.raw.v1' }
/** A partition in use has a tick each second. */
const BACK_MS = 60_000

/**
 * Ends a service that was not told of the schema registry which others on this log use: to it every record would be one
 * that cannot be repaired. What tells is the newest tick, which only a pipeline writes.
 */
export async function refuseFramed(transport: Transport, catalogue: Catalogue): Promise<void> {
  const { end } = await transport.admin.describe(RAW)
  let newest: Received | undefined
  for await (const batch of transport.read(RAW, { from: { time: Date.now() - BACK_MS }, to: end }))
    for (const message of batch)
      if (isTick(message) && message.appendedAt >= (newest?.appendedAt ?? 0)) newest = message
  if (!newest) return
  try {
    catalogue.codec('events.raw.v1').decode(newest)
  } catch (error) {
    if (!(error instanceof WeftError && error.code === 'SCHEMA')) throw error
    const remedy = 'give the same schema registry as the others on this log, by --registry or WEFT_REGISTRY'
    throw new Exit(EXIT.usage, `${error.message}: ${remedy}`, { cause: error })
  }
}
