import { backoff, pause } from '../backoff.ts'
import { type Code, WeftError } from '../transport.ts'
import { KafkaError } from './driver.ts'

/** What passes by itself: a broker that is away or moving, storage that refuses for now, transactions that are ending. */
const PASSING = new Set([
  'NETWORK',
  'NETWORK_EXCEPTION',
  'CORRUPT_MESSAGE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_TOPIC_ID',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'REQUEST_TIMED_OUT',
  'BROKER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
  'NOT_CONTROLLER',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
  'OFFSET_NOT_AVAILABLE',
  'PREFERRED_LEADER_NOT_AVAILABLE',
  'CONCURRENT_TRANSACTIONS',
  'UNSTABLE_OFFSET_COMMIT',
  'THROTTLING_QUOTA_EXCEEDED',
])

const FENCING = new Set([
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
  'FENCED_INSTANCE_ID',
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
])

const CODES: Readonly<Record<string, Code>> = {
  MESSAGE_TOO_LARGE: 'TOO_LARGE',
  RECORD_LIST_TOO_LARGE: 'TOO_LARGE',
  OFFSET_OUT_OF_RANGE: 'POSITION_GONE',
  TOPIC_AUTHORIZATION_FAILED: 'DENIED',
  GROUP_AUTHORIZATION_FAILED: 'DENIED',
  CLUSTER_AUTHORIZATION_FAILED: 'DENIED',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'DENIED',
  SASL_AUTHENTICATION_FAILED: 'DENIED',
  TLS_FAILED: 'DENIED',
  POLICY_VIOLATION: 'DENIED',
}

export const isPassing = (error: unknown): error is KafkaError => error instanceof KafkaError && PASSING.has(error.code)
export const isFencing = (error: unknown): error is KafkaError => error instanceof KafkaError && FENCING.has(error.code)
export const isTooLarge = (code: string): boolean => CODES[code] === 'TOO_LARGE'
export const passes = (code: string): boolean => PASSING.has(code)

/** The contract's error for one of Kafka's; any other error as it is. */
export function weftError(error: unknown): unknown {
  if (!(error instanceof KafkaError)) return error
  const { code } = error
  if (PASSING.has(code))
    return new WeftError('UNAVAILABLE', `Kafka cannot take it now: ${error.message}`, { cause: error })
  if (FENCING.has(code)) return new WeftError('FENCED', `another has taken over: ${error.message}`, { cause: error })
  return new WeftError(CODES[code] ?? 'INVALID', error.message, { cause: error })
}

/** A broker that answers so is there, and about to be ready: worth more patience than one that is away. */
const SETTLING = new Set([
  'CONCURRENT_TRANSACTIONS',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR',
  'UNSTABLE_OFFSET_COMMIT',
])
const SETTLING_MS = 10_000

/**
 * Tries again what passes by itself, for `forMs` at the longest; then, or at once for any other error, throws it as
 * the driver did.
 */
export async function persist<T>(
  attempt: () => Promise<T>,
  { forMs, signal, maxMs = 500 }: { forMs: number; signal?: AbortSignal; maxMs?: number },
): Promise<T> {
  const end = performance.now() + forMs
  const stop = signal ?? new AbortController().signal
  for (let tries = 1; ; tries++) {
    try {
      return await attempt()
    } catch (error) {
      if (!isPassing(error)) throw error
      if (performance.now() > end + (SETTLING.has(error.code) ? SETTLING_MS : 0)) throw error
      if (!(await pause(5 + backoff(tries, { minMs: 10, maxMs }), stop))) throw error
    }
  }
}
