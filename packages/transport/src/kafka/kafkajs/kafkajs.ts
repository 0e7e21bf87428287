import type { Address, Driver, DriverOptions, Lane } from '../driver.ts'
import { check } from '../error-names.ts'
import { firstToAnswer } from '../first-to-answer.ts'
import { type AskAny, asking } from './asking.ts'
import { Connections } from './connections.ts'
import { groups } from './groups.ts'
import { log } from './log.ts'
import { FIND_COORDINATOR, METADATA, topics } from './topics.ts'
import { transactions } from './transactions.ts'

/**
 * kafkajs's protocol and connections. Its Producer, Consumer and Admin are left aside: they know no generation in
 * transactions and no cooperative assignment, commit past gaps, and take PRODUCER_FENCED for an unknown error. What its
 * protocol lacks (it ends with Kafka 2.3) is encoded here, in its encoder's words.
 */
export function kafkajs(options: DriverOptions): Driver {
  const lanes = new Set<Lane>()
  return {
    lane({ timeoutMs = options.timeoutMs } = {}) {
      const lane = laneOf(new Connections(options, timeoutMs), options.brokers, () => lanes.delete(lane))
      lanes.add(lane)
      return lane
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...lanes].map(lane => lane[Symbol.asyncDispose]()))
    },
  }
}

function laneOf(connections: Connections, seeds: readonly Address[], closed: () => void): Lane {
  let known: readonly Address[] = []
  const ask = asking(connections)
  const askAny: AskAny = (api, args) => firstToAnswer([...known, ...seeds], broker => ask(broker, api, args))
  return {
    async metadata(topics) {
      const found = await askAny(METADATA, { topics })
      known = found.brokers
      return found
    },
    async coordinator(kind, key) {
      const coordinatorType = kind === 'group' ? 0 : 1
      const { errorCode, coordinator } = await askAny(FIND_COORDINATOR, { groupId: key, coordinatorType })
      check(errorCode, `finding the coordinator of ${kind} "${key}"`)
      return { id: coordinator.nodeId, host: coordinator.host, port: coordinator.port }
    },
    ...log(ask),
    ...groups(ask),
    ...transactions(ask, askAny),
    ...topics(ask, askAny),
    async [Symbol.asyncDispose]() {
      closed()
      await connections.close()
    },
  }
}
