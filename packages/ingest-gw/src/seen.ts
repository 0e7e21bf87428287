import type { Position } from '@weft/transport'

/**
 * Which event ids a tenant has sent lately. `claim` is called before an append and settled after it, so that of any
 * number of requests with the same id at the same time one appends and the others learn how that ended. An id is
 * never taken as seen before the log has it.
 *
 * Several gateways on one log each have their own: what another one appended is known here as soon as it was read
 * from the log, some milliseconds later. Within that gap both store a repeat, and the validate stage drops the second.
 * Through Redis (`shared/`) they know at once.
 */
export interface SeenEvents {
  /** `tenants[i]` and `ids[i]` name event i. */
  claim(tenants: readonly string[], ids: readonly string[]): Claim | Promise<Claim>
}

/**
 * fresh: the caller's to append. repeat: of a fresh one before it in the same claim. seen: the log has it.
 * pending: another request is appending it. failed: that one failed.
 */
export type ClaimState = 'fresh' | 'repeat' | 'seen' | 'pending' | 'failed'

export interface Claim {
  /** Per event, in the order of the claim. */
  readonly states: readonly ClaimState[]
  /** Resolves when no event is pending any more, with the states then. */
  settled(): Promise<readonly ClaimState[]>
  /**
   * The fresh ones are in the log, at these positions, in the order of the claim; or, without positions, they are kept
   * durably here and will get there.
   */
  stored(positions: readonly Position[] | undefined): void
  /** None of the fresh ones is known to be in the log: whoever sends them again may append them. */
  failed(): void
}
