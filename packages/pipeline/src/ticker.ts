import type { Catalogue } from '@weft/schema'
import { header, type Position, type Running, type Transport } from '@weft/transport'
import type { Rule } from './rules.ts'
import { RULES_HEADER, tickMessage } from './ticks.ts'

const TOPIC = { name: 'events.raw.v1' }

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

/** What the ticker knows of a partition. Times are those of ticks, milliseconds since the epoch. */
export interface Ticked {
  /** Since when nothing but ticks has come. */
  readonly silentSince: number
  readonly last: number
  /** Where the last tick is. */
  readonly position?: Position
  readonly rules?: string
}

/**
 * A partition is ticked each interval while it is in use, and the longer it is silent the more seldom: what waits for d
 * is told of it at most d/60 late, and a store that nobody uses does not fill with ticks.
 */
export const isDue = ({ silentSince, last }: Ticked, at: number, everyMs: number): boolean =>
  at - last >= Math.max(everyMs, (at - silentSince) / 60)

/** Appends a tick to each partition that the reader has, at whole `everyMs` of the clock. */
export function startTicker(options: TickerOptions): AsyncDisposable {
  const { transport, catalogue, reader, everyMs = 1000, rules, onError = () => {} } = options
  const stop = new AbortController()
  const known = new Map<number, Ticked>()

  async function round(at: number): Promise<void> {
    const written = rules && JSON.stringify(rules())
    const partitions = new Set(
      (await reader.lag()).filter(lag => lag.topic.name === TOPIC.name).map(lag => lag.partition),
    )
    for (const partition of known.keys()) if (!partitions.has(partition)) known.delete(partition)
    const { end } = await transport.admin.describe(TOPIC)
    await Promise.all([...partitions].map(partition => tick(partition, at, end[partition], written)))
  }

  async function tick(
    partition: number,
    at: number,
    end: Position | undefined,
    written: string | undefined,
  ): Promise<void> {
    const before = known.get(partition) ?? { silentSince: at, last: 0 }
    const silent = before.position && end && transport.compare(end, before.position) <= 0
    const state = silent ? before : { ...before, silentSince: at }
    const news = written !== undefined && before.rules !== written
    if (!news && !isDue(state, at, everyMs)) return
    const headers = news ? [header(RULES_HEADER, written)] : []
    const message = tickMessage(catalogue, TOPIC.name, { tick: at, headers })
    const [position] = await transport.append(TOPIC, [message], { partition })
    known.set(partition, {
      ...state,
      last: at,
      ...(position && { position }),
      ...(written !== undefined && { rules: written }),
    })
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
