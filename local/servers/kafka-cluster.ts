import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { startKafka } from './kafka.ts'
import { PORTS } from './kafka-settings.ts'
import { choosePorts } from './ports.ts'
import { stop } from './running-server.ts'

export interface KafkaCluster extends AsyncDisposable {
  /** Names all of its brokers. */
  readonly url: string
  /** Broker `id` counts from 1. */
  start(id: number): Promise<void>
  stop(id: number, signal?: NodeJS.Signals): Promise<void>
}

/**
 * Three brokers, each a controller too, that keep three copies of everything and take a write when two have it. Within
 * seconds after one of them came back it leads again what it led before.
 */
export async function startKafkaCluster({
  folder,
  heapMb = 256,
}: {
  folder: string
  heapMb?: number
}): Promise<KafkaCluster> {
  const ids = [1, 2, 3]
  const folderOf = (id: number) => path.join(folder, String(id))
  for (const id of ids) mkdirSync(folderOf(id), { recursive: true })
  // Each has to know the others' ports before it starts.
  const ports = await Promise.all(ids.map(id => choosePorts(folderOf(id), PORTS)))
  const clusterId = randomUUID()
  const shared = {
    'controller.quorum.voters': ports.map(({ controller }, i) => `${i + 1}@127.0.0.1:${controller}`).join(),
    'default.replication.factor': 3,
    'min.insync.replicas': 2,
    'offsets.topic.replication.factor': 3,
    'transaction.state.log.replication.factor': 3,
    'transaction.state.log.min.isr': 2,
    'leader.imbalance.check.interval.seconds': 1,
    'leader.imbalance.per.broker.percentage': 0,
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,
  }
  const start = async (id: number) => {
    const properties = { ...shared, 'node.id': id }
    await startKafka({ folder: folderOf(id), heapMb, eager: true, clusterId, properties })
  }
  const end = async () => {
    await Promise.all(ids.map(id => stop(folderOf(id), { signal: 'SIGKILL' })))
  }
  try {
    await Promise.all(ids.map(start))
  } catch (error) {
    await end()
    throw error
  }
  return {
    url: `kafka://${ports.map(({ port }) => `127.0.0.1:${port}`).join()}`,
    start,
    stop: async (id, signal = 'SIGTERM') => void (await stop(folderOf(id), { signal })),
    [Symbol.asyncDispose]: end,
  }
}
