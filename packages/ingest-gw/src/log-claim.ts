import type { Position } from '@weft/transport'
import type { Flight } from './flight.ts'
import type { Claim, ClaimState } from './seen.ts'

/** Who is told how the fresh ids of a claim fared. */
export interface Outcomes {
  stored(fresh: readonly string[], positions: readonly Position[] | undefined): void
  failed(fresh: readonly string[]): void
}

/** A claim of ids in the index of a log. */
export class LogClaim implements Claim {
  readonly states: ClaimState[] = []
  /** Keys of the fresh ones, in the order of the claim. */
  readonly fresh: string[] = []
  readonly #index: Outcomes
  readonly #flight: Flight
  /** Whose outcome each pending one waits for. */
  #pending: Map<number, Flight> | undefined

  constructor(index: Outcomes, flight: Flight) {
    this.#index = index
    this.#flight = flight
  }

  /** The next id of the claim is under way with another. */
  await(other: Flight): void {
    this.#pending ??= new Map()
    this.#pending.set(this.states.length, other)
    this.states.push('pending')
  }

  async settled(): Promise<readonly ClaimState[]> {
    for (const [at, other] of this.#pending ?? []) this.states[at] = (await other.settled()) ? 'seen' : 'failed'
    return this.states
  }

  stored(positions: readonly Position[] | undefined): void {
    this.#flight.settle(Date.now())
    this.#index.stored(this.fresh, positions)
  }

  failed(): void {
    this.#index.failed(this.fresh)
    this.#flight.settle(0)
  }
}
