import type { OpenOptions } from '../open.ts'
import type { Guarantees, SchemaRef, Topic, Transport } from '../transport.ts'

/** What a driver gives so that the suite can judge it. See docs/writing-a-transport.md. */
export interface Harness {
  /** The promises, written down where a reviewer sees them. The first case compares them with the transport's own. */
  readonly guarantees: Guarantees
  /** Starts one cluster for all cases; they tell themselves apart by random names. */
  start(): Promise<Cluster>
}

/** A cluster or store that runs. Disposing it leaves nothing behind. */
export interface Cluster extends AsyncDisposable {
  /** What `open` takes: child processes reach the same cluster by it. */
  readonly url: string
  /** After how many milliseconds of silence the cluster takes a member for dead, at most. */
  readonly sessionMs: number
  /** Two schemas that the cluster can refer to. */
  readonly schemas: readonly [SchemaRef, SchemaRef]
  /** Another client of the same cluster; with a tenant, one that may touch only this tenant's topics. */
  open(options?: OpenOptions): Promise<Transport>
  /** From now on nothing can be made durable for clients of this process, until healed. */
  failStorage(): Promise<void>
  healStorage(): Promise<void>
  /**
   * The shortest retention that lets a case see its messages, in milliseconds: a broker cleans up whenever it likes, so
   * its messages must live a while. Default 50.
   */
  readonly shortRetentionMs?: number
  /** Resolves when whatever the topic's retention and clean-up allow to be gone is gone. */
  expire(topic: Topic): Promise<void>
}
