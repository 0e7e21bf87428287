import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from './random.ts'

/** What a client was told of each event that it sent, in the order of the answers. */
export type Told = Map<string, ('accepted' | 'duplicate' | 'rejected')[]>

interface Sent {
  readonly event_id: string
  readonly type: string
  readonly session_id: string
  readonly sent_at: number
  readonly payload: Readonly<Record<string, unknown>>
}

interface Answer {
  readonly status?: 'accepted' | 'duplicate' | 'rejected'
  readonly event_id?: string
  readonly results?: readonly { readonly event_id: string; readonly status: 'accepted' | 'duplicate' | 'rejected' }[]
}

export interface ShopperOptions {
  readonly name: string
  readonly key: string
  /** Where events go now; undefined while nobody takes them. */
  readonly url: () => string | undefined
  readonly random: Random
  readonly told: Told
  /** No session begins after it aborted; what was begun is sent to its end. */
  readonly signal: AbortSignal
  readonly onLost: () => void
}

/** Sends session after session, each event until it is answered, always with the same id and body. */
export async function shop(options: ShopperOptions): Promise<void> {
  const { name, random, signal, told } = options
  for (let visit = 0; !signal.aborted; visit++) {
    const session = `${name}-${visit}`
    const events = random.between(3, 12)
    let elapsed = 0
    for (let n = 0; n < events; ) {
      const batch: Sent[] = []
      for (let left = random.between(1, 3); left > 0 && n < events; left--, n++) {
        elapsed += random.between(1, 40_000)
        batch.push(eventOf(session, n, elapsed, n === 0, n === events - 1))
      }
      await untilAnswered(batch, options)
      // A client that forgot that it was answered.
      if (random() < 0.05) await untilAnswered(batch, options)
      await pause(random.between(0, 25))
    }
  }
  if (told.size === 0) throw new Error(`${name} sent nothing`)
}

function eventOf(session: string, n: number, elapsed_ms: number, first: boolean, last: boolean): Sent {
  const type = first ? 'session_start' : last ? 'session_end' : 'page_view'
  const payload = first ? { visitor: 'new' } : last ? {} : { page: n % 3 ? 'product' : 'informational' }
  return {
    event_id: `${session}-${n}`,
    type,
    session_id: session,
    sent_at: Date.now(),
    payload: { elapsed_ms, ...payload },
  }
}

async function untilAnswered(
  batch: readonly Sent[],
  { url, key, random, told, onLost }: ShopperOptions,
): Promise<void> {
  const isSingle = batch.length === 1 && random() < 0.5
  const isLines = !isSingle && random() < 0.3
  const body = isSingle
    ? JSON.stringify(batch[0])
    : isLines
      ? batch.map(event => JSON.stringify(event)).join('\n')
      : JSON.stringify(batch)
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': isLines ? 'application/x-ndjson' : 'application/json',
  }
  for (;;) {
    const to = url()
    // Sometimes the client is who hangs up.
    const signal = random() < 0.03 ? AbortSignal.timeout(random.between(1, 10)) : AbortSignal.timeout(20_000)
    try {
      if (to === undefined) throw new TypeError('nobody listens')
      const response = await fetch(to, { method: 'POST', headers, body, signal })
      const text = await response.text()
      if (response.ok) {
        const answer = JSON.parse(text) as Answer
        for (const { event_id, status } of answer.results ?? [answer]) {
          const before = told.get(event_id ?? '') ?? []
          told.set(event_id ?? '', [...before, status ?? 'rejected'])
        }
        return
      }
      if (response.status !== 429 && response.status < 500)
        throw new Error(`the gateway answered ${response.status}: ${text}`)
    } catch (error) {
      if (!(error instanceof TypeError || /Timeout|Abort/.test((error as Error).name))) throw error
    }
    onLost()
    await pause(random.between(20, 120))
  }
}
