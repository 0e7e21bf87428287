import type { Catalogue } from '@weft/schema'
import { type Transport, WeftError } from '@weft/transport'
import { EXIT, Exit } from './exit.ts'
import { isTick } from './records.ts'

const RAW = { name: 'events.raw.v1' }
const BACK_MS = 3_600_000

/**
 * Ends a service that was not told of the schema registry which others on this log use: to it every record would be one
 * that cannot be repaired. What tells is a tick, which only a pipeline writes.
 */
export async function refuseFramed(transport: Transport, catalogue: Catalogue): Promise<void> {
  const { end } = await transport.admin.describe(RAW)
  const from = { time: Date.now() - BACK_MS }
  for await (const batch of transport.read(RAW, { from, to: end, maxBytes: 64 * 1024 })) {
    const tick = batch.find(isTick)
    if (!tick) continue
    try {
      catalogue.codec('events.raw.v1').decode(tick)
    } catch (error) {
      if (!(error instanceof WeftError && error.code === 'SCHEMA')) throw error
      const remedy = 'give the same schema registry as the others on this log, by --registry or WEFT_REGISTRY'
      throw new Exit(EXIT.usage, `${error.message}: ${remedy}`, { cause: error })
    }
    return
  }
}
