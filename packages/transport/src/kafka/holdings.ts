import { backoff, pause } from '../backoff.ts'
import { WeftError } from '../transport.ts'
import { weftError } from './errors.ts'

/** A partition that the group has given to this member. */
export interface Claim {
  readonly partition: number
  /** Aborts when it is to be given up: what is under way may be finished and committed. */
  readonly signal: AbortSignal
  /** Aborts when it was taken away: nothing can be committed any more. */
  readonly lost: AbortSignal
  readonly since: number
}

interface Holding extends Claim {
  readonly giveUp: AbortController
  readonly takeAway: AbortController
  /** Resolves when the work has ended, or was given up on. */
  readonly ended: Promise<void>
}

export interface HoldingOptions {
  readonly group: string
  /** So long work may go on after its partition was to be given up, in milliseconds. */
  readonly handoverMs: number
}

/** The partitions that a member works on, each from when it is given to when its work has ended. */
export class Holdings {
  readonly #options: HoldingOptions
  readonly #serve: (claim: Claim) => Promise<void>
  readonly #ended: (claim: Claim) => void
  readonly #failed: (error: unknown) => void
  readonly #held = new Map<number, Holding>()

  constructor(
    options: HoldingOptions,
    serve: (claim: Claim) => Promise<void>,
    /** Work on a partition has ended, whatever the reason. */
    ended: (claim: Claim) => void,
    /** The member cannot go on. */
    failed: (error: unknown) => void,
  ) {
    this.#options = options
    this.#serve = serve
    this.#ended = ended
    this.#failed = failed
  }

  get claims(): readonly Claim[] {
    return [...this.#held.values()].sort((a, b) => a.partition - b.partition)
  }

  has(partition: number): boolean {
    return this.#held.has(partition)
  }

  hold(partition: number): void {
    const [giveUp, takeAway] = [new AbortController(), new AbortController()]
    const claim = { partition, signal: giveUp.signal, lost: takeAway.signal, since: Date.now() }
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    let clock: NodeJS.Timeout | undefined
    const end = () => {
      if (this.#held.get(partition)?.ended !== ended) return
      clearTimeout(clock)
      this.#held.delete(partition)
      resolve()
      this.#ended(claim)
    }
    const late = () => {
      takeAway.abort()
      this.#failed(this.#late(partition))
      end()
    }
    giveUp.signal.addEventListener('abort', () => {
      clock = setTimeout(late, this.#options.handoverMs)
    })
    this.#held.set(partition, { ...claim, giveUp, takeAway, ended })
    void this.#work(claim).finally(end)
  }

  /** Serves until it ends; what passes makes it begin again from where the group is. */
  async #work(claim: Claim): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#serve(claim)
        return
      } catch (error) {
        if (claim.lost.aborted && error instanceof WeftError && error.code === 'FENCED') return
        const reason = weftError(error)
        const passing = reason instanceof WeftError && reason.retryable
        if (!passing) this.#failed(reason)
        if (!passing || !(await pause(backoff(tries, { maxMs: 2_000 }), claim.signal))) return
      }
    }
  }

  /** Whoever is to have the partition waits for its work to end, but not for ever. */
  #late(partition: number): WeftError {
    const { group, handoverMs } = this.#options
    const why = `work on partition ${partition} went on for ${handoverMs} ms after it was to be given up`
    const remedy = 'end the work when its signal aborts, or allow it longer with handoverMs'
    return new WeftError('FENCED', `group "${group}" goes on without this member: ${why}; ${remedy}`)
  }

  /** What is to go to others, or all when the member leaves. */
  giveUp(keep: ReadonlySet<number> = new Set()): void {
    for (const { partition, giveUp } of this.#held.values()) if (!keep.has(partition)) giveUp.abort()
  }

  takeAllAway(): void {
    for (const { takeAway, giveUp } of this.#held.values()) {
      takeAway.abort()
      giveUp.abort()
    }
  }

  /** Resolves when work on all that was taken away has ended. */
  async lostEnded(): Promise<void> {
    await Promise.all(this.#holdings.filter(({ lost }) => lost.aborted).map(({ ended }) => ended))
  }

  async allEnded(): Promise<void> {
    while (this.#held.size > 0) await Promise.all(this.#holdings.map(({ ended }) => ended))
  }

  get #holdings(): readonly Holding[] {
    return [...this.#held.values()]
  }
}
