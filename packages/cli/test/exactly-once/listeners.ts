import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from './random.ts'

export interface Heard {
  readonly ids: string[]
  /** What the server said that it had left out. */
  readonly resets: string[]
  /** How often it came back with its cursor. */
  resumed: number
}

export interface ListenerOptions {
  readonly url: () => string | undefined
  readonly token: string
  readonly random: Random
  readonly signal: AbortSignal
}

/** Follows the stream, comes back with the id of the last frame after every break, and breaks off itself at times. */
export function listenBySse({ url, token, random, signal }: ListenerOptions): Heard & { done: Promise<void> } {
  const heard: Heard = { ids: [], resets: [], resumed: 0 }
  let cursor = ''
  const once = async (base: string) => {
    const leave = AbortSignal.any([signal, AbortSignal.timeout(random.between(500, 4_000))])
    const response = await fetch(`${base}/v1/alerts/stream?from=earliest`, {
      headers: { authorization: `Bearer ${token}`, ...(cursor && { 'last-event-id': cursor }) },
      signal: leave,
    })
    if (!response.ok) throw refused(response.status, await response.text())
    let rest = ''
    for await (const chunk of (response.body as ReadableStream).pipeThrough(new TextDecoderStream())) {
      const frames = (rest + chunk).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split('\n').map(line => line.split(/: ?(.*)/s, 2)))
        if (fields.event === 'alert') heard.ids.push(JSON.parse(fields.data).alert_id)
        else if (fields.event === 'reset') heard.resets.push(fields.data)
        if (fields.id) cursor = fields.id
      }
    }
  }
  return Object.assign(heard, { done: again(once, url, random, signal, heard) })
}

/** Turns the pages, a few alerts each, with the cursor of the one before. */
export function listenByRest({ url, token, random, signal }: ListenerOptions): Heard & { done: Promise<void> } {
  const heard: Heard = { ids: [], resets: [], resumed: 0 }
  let cursor = ''
  const once = async (base: string) => {
    const query = new URLSearchParams({ limit: String(random.between(1, 20)), wait: '1', ...(cursor && { cursor }) })
    const response = await fetch(`${base}/v1/alerts?${query}`, {
      headers: { authorization: `Bearer ${token}` },
      signal,
    })
    if (!response.ok) throw refused(response.status, await response.text())
    const page = (await response.json()) as { alerts: { alert_id: string }[]; cursor: string; reset?: object }
    heard.ids.push(...page.alerts.map(({ alert_id }) => alert_id))
    if (page.reset) heard.resets.push(JSON.stringify(page.reset))
    cursor = page.cursor
  }
  return Object.assign(heard, { done: again(once, url, random, signal, heard) })
}

class Refused extends Error {}
const refused = (status: number, text: string): Error =>
  status === 429 || status >= 500 ? new Error(text) : new Refused(`the alerts API answered ${status}: ${text}`)

async function again(
  once: (base: string) => Promise<void>,
  url: () => string | undefined,
  random: Random,
  signal: AbortSignal,
  heard: Heard,
): Promise<void> {
  while (!signal.aborted) {
    const base = url()
    try {
      if (base !== undefined) await once(base)
    } catch (error) {
      if (error instanceof Refused) throw error
      await pause(random.between(10, 100))
    }
    heard.resumed++
    if (base === undefined) await pause(50)
  }
}
