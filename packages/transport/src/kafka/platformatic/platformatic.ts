import {
  ConnectionPool,
  findCoordinatorV2,
  findCoordinatorV3,
  findCoordinatorV4,
  metadataV7,
  metadataV8,
  metadataV9,
  metadataV10,
  metadataV11,
  metadataV12,
} from '@platformatic/kafka'
import type { Address, Driver, DriverOptions, Lane } from '../driver.ts'
import { check, errorOf, failed } from '../error-names.ts'
import { firstToAnswer } from '../first-to-answer.ts'
import { type AskAny, api, asking } from './asking.ts'
import { groups } from './groups.ts'
import { log } from './log.ts'
import { topics } from './topics.ts'
import { transactions } from './transactions.ts'

// Newer ones than 12 find topics by id.
const METADATA = api('Metadata', metadataV12, metadataV11, metadataV10, metadataV9, metadataV8, metadataV7)
const FIND_COORDINATOR = api('FindCoordinator', findCoordinatorV4, findCoordinatorV3, findCoordinatorV2)

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
        // Asked by the library for each connection, and so read anew.
        get tls() {
          return options.tls?.()
        },
        get sasl() {
          return options.sasl?.()
        },
      } as ConstructorParameters<typeof ConnectionPool>[1])
      const lane = laneOf(pool, options.brokers, () => lanes.delete(lane))
      lanes.add(lane)
      return lane
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...lanes].map(lane => lane[Symbol.asyncDispose]()))
    },
  }
}

function laneOf(pool: ConnectionPool, seeds: readonly Address[], closed: () => void): Lane {
  let known: readonly Address[] = []
  const ask = asking(pool)
  const askAny: AskAny = (api, ...args) => firstToAnswer([...known, ...seeds], broker => ask(broker, api, ...args))
  return {
    async metadata(topics) {
      const found = await askAny(METADATA, topics && [...topics], false, false)
      known = found.brokers
      return {
        cluster: found.clusterId ?? '',
        controller: found.controllerId,
        brokers: found.brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })),
        topics: found.topics.map(topic => {
          const leaders: number[] = []
          for (const { partitionIndex, leaderId, errorCode } of topic.partitions)
            leaders[partitionIndex] = errorCode === 0 || errorOf(errorCode) === 'REPLICA_NOT_AVAILABLE' ? leaderId : -1
          const replicas = Math.min(...topic.partitions.map(({ replicaNodes }) => replicaNodes.length))
          return { name: topic.name ?? '', internal: topic.isInternal, leaders, replicas, ...failed(topic.errorCode) }
        }),
      }
    },
    async coordinator(kind, key) {
      const { coordinators } = await askAny(FIND_COORDINATOR, kind === 'group' ? 0 : 1, [key])
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
