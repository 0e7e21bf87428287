import type { Catalogue } from '@weft/schema'
import { header, type Running, type Transport } from '@weft/transport'
import type { Rule } from './rules.ts'
import { RULES_HEADER, tickMessage } from './ticks.ts'

const TOPIC = 'events.raw.v1'

export interface TickerOptions {
  readonly transport: Transport
  readonly catalogue: Catalogue
  /** The member that reads events.raw.v1: whoever has a partition ticks it, so each is ticked by one process. */
  readonly reader: Running
  readonly everyMs?: number
  /** Told to a partition with a tick when this process has not told it yet, and again whenever they change. */
  readonly rules?: () => readonly Rule[]
  readonly onError?: (error: unknown) => void
}

/** Appends a tick to each partition that the reader has, at each whole `everyMs` of the clock. */
export function startTicker(options: TickerOptions): AsyncDisposable {
  const { transport, catalogue, reader, everyMs = 1000, rules, onError = () => {} } = options
  const stop = new AbortController()
  const told = new Map<number, string>()

  async function round(at: number): Promise<void> {
    const written = rules && JSON.stringify(rules())
    const partitions = new Set((await reader.lag()).filter(lag => lag.topic.name === TOPIC).map(lag => lag.partition))
    await Promise.all(
      [...partitions].map(async partition => {
        const news = written !== undefined && told.get(partition) !== written
        const headers = news ? [header(RULES_HEADER, written)] : []
        await transport.append({ name: TOPIC }, [tickMessage(catalogue, TOPIC, { tick: at, headers })], { partition })
        if (news) told.set(partition, written)
      }),
    )
    for (const partition of told.keys()) if (!partitions.has(partition)) told.delete(partition)
  }

  const done = (async () => {
    while (!stop.signal.aborted) {
      const at = Math.floor(Date.now() / everyMs) * everyMs
      await round(at).catch(error => stop.signal.aborted || onError(error))
      await until(at + everyMs, stop.signal)
    }
  })()

  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await done
    },
  }
}

async function until(time: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, Math.max(0, time - Date.now()))
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
}
