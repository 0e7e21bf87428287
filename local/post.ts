import { type Agent, request as plain } from 'node:http'
import { request as secure } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ShopEvent } from './events.ts'

export interface Gateway {
  readonly url: URL
  readonly agent: Agent
  /** PEM of the authority to trust beside the known ones, for a gateway with a certificate of its own. */
  readonly ca?: string | Uint8Array
}

interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly body: string
}

const ANSWER_WITHIN_MS = 10_000
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 5_000
const LONGEST_ASKED_MS = 3_600_000

/**
 * Sends an event until the gateway has taken it: again after Retry-After when it says so, again with the same
 * event_id when there was no answer, which the gateway then knows from the first time. Throws what no repetition
 * helps against, and the signal's reason.
 */
export async function deliver(event: ShopEvent, key: string, gateway: Gateway, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const answer = await post(gateway, key, JSON.stringify(event), signal).catch((error: Error) => {
      signal.throwIfAborted()
      if ('code' in error && CERTIFICATE_FAULTS.has(String(error.code)))
        throw new Error(`the certificate of ${gateway.url.origin} is not trusted: ${error.message}`, { cause: error })
      return undefined
    })
    if (answer && answer.status < 300) return
    if (answer && !isWorthRepeating(answer.status))
      throw new Error(
        `${gateway.url.origin} refused ${event.type} ${event.event_id} with ${answer.status}: ${answer.body.slice(0, 500)}`,
      )
    await sleep(waitMs(answer?.retryAfter, attempt), undefined, { signal })
  }
}

const CERTIFICATE_FAULTS = new Set([
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

const isWorthRepeating = (status: number) => status === 408 || status === 429 || status >= 500

/** Retry-After is in seconds (RFC 9110 also has dates; then, and without one, the wait doubles, with jitter). */
function waitMs(retryAfter: string | undefined, attempt: number): number {
  const asked = Number(retryAfter) * 1_000
  if (asked >= 0) return Math.min(LONGEST_ASKED_MS, asked) + Math.random() * FIRST_WAIT_MS
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt) * (0.5 + Math.random() / 2)
}

function post({ url, agent, ca }: Gateway, key: string, body: string, signal: AbortSignal): Promise<Answer> {
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    authorization: `Bearer ${key}`,
  }
  const options = {
    method: 'POST',
    agent,
    headers,
    signal,
    timeout: ANSWER_WITHIN_MS,
    ...(ca && { ca: Buffer.from(ca) }),
  }
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? secure : plain)(url, options, response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
          body: Buffer.concat(chunks).toString(),
        }),
      )
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${ANSWER_WITHIN_MS} ms`)))
    request.on('error', reject)
    request.end(body)
  })
}
