import { setTimeout as sleep } from 'node:timers/promises'
import type { Retry } from './transport.ts'

export const retryOf = ({ maxAttempts = 5, minMs = 100, maxMs = 30_000 }: Retry = {}) => ({ maxAttempts, minMs, maxMs })

/** Milliseconds to wait after the given failed attempt (1 is the first): full jitter under a doubling ceiling. */
export function backoff(attempt: number, { minMs = 100, maxMs = 30_000 }: Retry = {}): number {
  return Math.random() * Math.min(maxMs, minMs * 2 ** Math.min(attempt - 1, 30))
}

/** So long it waits at most between two looks whether what was away is back, in milliseconds. */
export const OUTAGE_MS = 2_000

/** Waits; returns at once and false if the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false
  return sleep(ms, true, { signal }).catch(() => false)
}
