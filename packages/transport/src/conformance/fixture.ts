import { test } from 'vitest'
import type { OpenOptions } from '../open.ts'
import type { Topic, TopicSpec, Transport } from '../transport.ts'
import { type Child, spawnProgram } from './child.ts'
import type { Cluster } from './harness.ts'

/** What a case asks for by naming it; all of it is closed or killed when the case ends. */
export interface Fixture {
  readonly cluster: Cluster
  /** One client. */
  readonly transport: Transport
  /** A further client. */
  readonly open: (options?: OpenOptions) => Promise<Transport>
  /** A new, empty topic; of 4 partitions if not told otherwise. */
  readonly create: (spec?: Partial<TopicSpec>) => Promise<Topic>
  /** A name that nothing else has. */
  readonly fresh: (kind: string) => string
  /** Starts a program of programs/ in a process of its own. */
  readonly spawn: (program: string, input?: object) => Child
}

const fresh = (kind: string): string => `${kind}-${crypto.randomUUID().slice(0, 13)}`

/** vitest's `test` with the fixture of a cluster. */
export function casesOf(cluster: () => Cluster) {
  return test.extend<Fixture>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names that are asked for from this pattern
    cluster: async ({}, use) => use(cluster()),
    // biome-ignore lint/correctness/noEmptyPattern: as above
    fresh: async ({}, use) => use(fresh),
    open: async ({ cluster }, use) => {
      await using clients = new AsyncDisposableStack()
      await use(async options => clients.use(await cluster.open(options)))
    },
    transport: async ({ open }, use) => use(await open()),
    create: async ({ transport }, use) =>
      use(async spec => {
        const topic = { name: fresh('topic') }
        await transport.admin.ensure([{ topic, partitions: 4, ...spec }])
        return spec?.topic ?? topic
      }),
    spawn: async ({ cluster }, use) => {
      await using children = new AsyncDisposableStack()
      await use((program, input) => children.use(spawnProgram(program, { url: cluster.url, ...input })))
    },
  })
}

export type Cases = ReturnType<typeof casesOf>
