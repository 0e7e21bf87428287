import { type Connection, ConnectionPool, findCoordinatorV4, metadataV12 } from '@platformatic/kafka'
import type { Broker, Driver, Lane } from '../driver.ts'
import { asking, check, failed } from './asking.ts'
import { groups } from './groups.ts'
import { log } from './log.ts'
import { topics } from './topics.ts'
import { transactions } from './transactions.ts'

export interface DriverOptions {
  readonly brokers: readonly { readonly host: string; readonly port: number }[]
  readonly clientId: string
  readonly timeoutMs: number
}

/**
 * @platformatic/kafka's protocol and connections. Its Producer and Consumer are left aside: they allow one request in
 * flight, commit what is delivered rather than what is done, and share requests between concurrent calls of a transaction.
 */
export function platformatic(options: DriverOptions): Driver {
  const lanes = new Set<Lane>()
  return {
    lane({ timeoutMs = options.timeoutMs } = {}) {
      const pool = new ConnectionPool(options.clientId, {
        connectTimeout: Math.min(options.timeoutMs, 5_000),
        requestTimeout: timeoutMs,
        maxInflights: 1_000,
      })
      const lane = laneOf(pool, options.brokers, () => lanes.delete(lane))
      lanes.add(lane)
      return lane
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...lanes].map(lane => lane[Symbol.asyncDispose]()))
    },
  }
}

function laneOf(pool: ConnectionPool, seeds: DriverOptions['brokers'], closed: () => void): Lane {
  let known: readonly Pick<Broker, 'host' | 'port'>[] = seeds

  const ask = asking(pool)

  async function askAny<T, A extends unknown[]>(
    api: { async: (connection: Connection, ...args: A) => Promise<T> },
    ...args: A
  ): Promise<T> {
    let failure: unknown
    for (const broker of [...known, ...seeds]) {
      try {
        return await ask(broker, api, ...args)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  return {
    async metadata(topics) {
      const found = await askAny(metadataV12.api, topics && [...topics], false, false)
      known = found.brokers
      return {
        cluster: found.clusterId ?? '',
        controller: found.controllerId,
        brokers: found.brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })),
        topics: found.topics.map(topic => {
          const leaders: number[] = []
          for (const { partitionIndex, leaderId, errorCode } of topic.partitions)
            leaders[partitionIndex] = errorCode === 0 || errorCode === 9 ? leaderId : -1
          return { name: topic.name ?? '', internal: topic.isInternal, leaders, ...failed(topic.errorCode) }
        }),
      }
    },
    async coordinator(kind, key) {
      const { coordinators } = await askAny(findCoordinatorV4.api, kind === 'group' ? 0 : 1, [key])
      const [found] = coordinators
      check(found?.errorCode ?? -1, `finding the coordinator of ${kind} "${key}"`)
      const { nodeId, host, port } = found as (typeof coordinators)[number]
      return { id: nodeId, host, port }
    },
    ...log(ask),
    ...groups(ask),
    ...transactions(ask, askAny),
    ...topics(ask, askAny),
    async [Symbol.asyncDispose]() {
      closed()
      await pool.close()
    },
  }
}
