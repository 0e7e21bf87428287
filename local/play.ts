import { Agent as PlainAgent } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { eventsOf } from './events.ts'
import { deliver, type Gateway } from './post.ts'
import { type Session, sessions } from './sessions.ts'

export const DEMO_KEYS: Readonly<Record<string, string>> = {
  aurora: 'wk_aurora_demo',
  birch: 'wk_birch_demo',
  cobalt: 'wk_cobalt_demo',
}

export interface PlayOptions {
  /** Gateways to send to, `http:` or `https:`; sessions are spread over them. */
  readonly urls: readonly string[]
  /** Write key of each tenant. */
  readonly keys?: Readonly<Record<string, string>>
  /** How many seconds of a session pass in a second. */
  readonly speed?: number
  /** Events a second that new sessions are begun for, on average; by default in proportion to `speed`. */
  readonly rate?: number
  readonly signal?: AbortSignal
  /** PEM of an authority to trust, for `https:` with a certificate of one's own. */
  readonly ca?: string | Uint8Array
  readonly sessions?: readonly Session[]
  /** How often the sessions are played, each time as new ones of the same shoppers. */
  readonly rounds?: number
  /** Part of every id, so that no other run's events are duplicates of this one's. */
  readonly run?: string
}

export interface Played {
  /** Events that a gateway has taken. */
  readonly events: number
  /** Sessions played to their end. */
  readonly sessions: number
}

const EVENTS_PER_SESSION = 37
/** Sessions begun at once, in seconds' worth: the first pages and scores come without a wait. */
const HEAD_START_SECONDS = 5
const LIVE_SESSIONS = 2_000
const CONNECTIONS = 64

/**
 * Plays the sessions live: many at a time, each event sent when its moment has come, by itself and after the one
 * before it was taken. `elapsed_ms` is the session's own, `sent_at` the time of sending. Resolves when all rounds are
 * played or the signal aborts (requests under way are given up); rejects if a gateway refuses an event for good.
 */
export async function play({
  urls,
  keys = DEMO_KEYS,
  speed = 120,
  rate = speed,
  signal = new AbortController().signal,
  ca,
  sessions: played = mixed(sessions()),
  rounds = Number.POSITIVE_INFINITY,
  run = Date.now().toString(36),
}: PlayOptions): Promise<Played> {
  for (const [name, value] of Object.entries({ speed, rate }))
    if (!(value > 0)) throw new RangeError(`${name} must be above 0, and is ${value}`)
  const gateways = urls.map(url => gatewayOf(url, ca))
  if (gateways.length === 0) throw new RangeError('there is no gateway to play to')
  const failure = new AbortController()
  const stop = AbortSignal.any([signal, failure.signal])
  const counts = { events: 0, sessions: 0 }
  const live = new Set<Promise<void>>()

  const one = async (session: Session, runId: string, gateway: Gateway) => {
    const startedAt = Date.now()
    for (const event of eventsOf(session, startedAt, runId)) {
      await until(startedAt + event.payload.elapsed_ms / speed, stop)
      const key = keys[session.tenant]
      if (key === undefined) throw new RangeError(`there is no write key for the tenant ${session.tenant}`)
      await deliver({ ...event, sent_at: new Date().toISOString() }, key, gateway, stop)
      counts.events++
    }
    counts.sessions++
  }

  const gapMs = (1_000 * EVENTS_PER_SESSION) / rate
  let due = Date.now() - HEAD_START_SECONDS * 1_000
  try {
    for (let round = 0; round < rounds; round++)
      for (const session of played) {
        due = Math.max(due + gapMs, Date.now() - HEAD_START_SECONDS * 1_000)
        await until(due, stop)
        while (live.size >= LIVE_SESSIONS) await Promise.race(live)
        stop.throwIfAborted()
        const gateway = gateways[session.row % gateways.length] as Gateway
        const playing: Promise<void> = one(session, round ? `${run}.${round}` : run, gateway)
          .catch(error => failure.abort(error))
          .finally(() => live.delete(playing))
        live.add(playing)
      }
    await Promise.all(live)
    stop.throwIfAborted()
  } catch (error) {
    await Promise.all(live)
    if (!signal.aborted) throw failure.signal.reason ?? error
  } finally {
    for (const { agent } of gateways) agent.destroy()
  }
  return counts
}

/** A timer of more than 24 days would fire at once. */
const LONGEST_TIMER_MS = 86_400_000

async function until(time: number, signal: AbortSignal): Promise<void> {
  for (let wait = time - Date.now(); wait > 0; wait = time - Date.now())
    await sleep(Math.min(wait, LONGEST_TIMER_MS), undefined, { signal })
}

function gatewayOf(url: string, ca: string | Uint8Array | undefined): Gateway {
  const path = new URL('/v1/events', url)
  const options = { keepAlive: true, maxSockets: CONNECTIONS }
  const agent = path.protocol === 'https:' ? new SecureAgent(options) : new PlainAgent(options)
  return ca === undefined ? { url: path, agent } : { url: path, agent, ca }
}

/** The file is sorted by month; a stride that shares no factor with its length mixes it, the same way every time. */
export function mixed(all: readonly Session[]): Session[] {
  return all.map((_, index) => all[(index * 7_919) % all.length] as Session)
}
