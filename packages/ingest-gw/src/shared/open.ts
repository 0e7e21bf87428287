import type { IdempotencyKeys } from '../idempotency.ts'
import type { SeenEvents } from '../seen.ts'
import { SharedConnection, type SharedSettings } from './connection.ts'
import { SharedIds } from './shared-ids.ts'
import { SharedKeys } from './shared-keys.ts'

interface Opening extends SharedSettings {
  readonly ids: SeenEvents
  readonly keys: IdempotencyKeys
  readonly cluster: string
  readonly windowMs: number
  readonly log?: { info(details: object, message: string): void; warn(details: object, message: string): void }
}

/** Redis has so long to be there when a gateway starts; it starts without as well. */
const START_MS = 1000

/** Shares event ids and Idempotency-Keys through Redis. */
export async function openShared({ url, timeoutMs, leaseMs, ids, keys, cluster, windowMs, log }: Opening) {
  const connection = new SharedConnection({ url, ...(timeoutMs && { timeoutMs }) }, log)
  await connection.ready(START_MS)
  const options = { connection, cluster, windowMs, ...(leaseMs && { leaseMs }) }
  const shared = new SharedIds({ ...options, own: ids })
  return {
    ids: shared,
    keys: new SharedKeys({ ...options, own: keys }),
    get isUp() {
      return connection.isUp
    },
    async [Symbol.asyncDispose]() {
      await shared[Symbol.asyncDispose]()
      await connection[Symbol.asyncDispose]()
    },
  }
}
