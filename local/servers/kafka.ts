import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { open } from '@weft/transport'
import { classPath, java } from './jars.ts'
import { freePorts, launch, listens, running, type ServerProcess } from './running-server.ts'

export interface KafkaOptions {
  /** Where its data, log and process note are; what is there is used again. */
  readonly folder: string
  /** Undefined: any that is free. */
  readonly port?: number | undefined
  readonly heapMb?: number
  /** Cleans up by retention and compaction several times a second, and lets sessions be short: for tests. */
  readonly eager?: boolean
  readonly say?: (text: string) => void
}

/** A broker and what tests need to know of it beside its URL. */
export interface KafkaServer extends ServerProcess {
  readonly port: number
  /**
   * A listener at `listen` that tells its clients to come to `advertise`, where nobody is: whoever listens there has the
   * road between them in hand.
   */
  readonly road: { readonly listen: number; readonly advertise: number }
  readonly logs: string
}

interface Ports {
  readonly port: number
  readonly controller: number
  readonly listen: number
  readonly advertise: number
}

/** Starts one broker in KRaft mode without Docker, or finds it running. Resolves when it answers. */
export async function startKafka({
  folder,
  port,
  heapMb = 384,
  eager = false,
  say = () => {},
}: KafkaOptions): Promise<KafkaServer> {
  mkdirSync(folder, { recursive: true })
  const noted = path.join(folder, 'ports.json')
  const found = running(folder)
  const logs = path.join(folder, 'data')
  if (found) {
    const ports: Ports = JSON.parse(readFileSync(noted, 'utf8'))
    return { ...found, port: ports.port, road: ports, logs }
  }
  const binary = java()
  const classes = await classPath('kafka', say)
  if (port !== undefined && (await listens(port)))
    throw new Error(`port ${port} is in use: stop what listens there, or take another with --port`)
  // A broker that was here before is looked for where it was.
  const before: Partial<Ports> = existsSync(noted) ? JSON.parse(readFileSync(noted, 'utf8')) : {}
  const [any, controller, listen, advertise] = (await freePorts(4)) as [number, number, number, number]
  const ports: Ports = { controller, listen, advertise, ...before, port: port ?? before.port ?? any }
  writeFileSync(noted, JSON.stringify(ports))
  const properties = path.join(folder, 'server.properties')
  writeFileSync(properties, propertiesOf(ports, logs, eager))
  const run = [
    binary,
    `-Xms${Math.min(128, heapMb)}m`,
    `-Xmx${heapMb}m`,
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    '-cp',
    classes,
  ] as const
  if (!existsSync(path.join(logs, 'meta.properties'))) {
    const format = ['kafka.tools.StorageTool', 'format', '-t', randomUUID(), '-c', properties]
    const { status, stdout, stderr } = spawnSync(binary, [...run.slice(1), ...format], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`Kafka could not format ${logs}:\n${(stdout + stderr).trim()}`)
  }
  const url = `kafka://127.0.0.1:${ports.port}`
  say(`starting Kafka at ${url}`)
  const ready = async () => {
    if (!(await listens(ports.port))) return false
    try {
      await using client = await open(`${url}?patienceMs=1000`)
      return client.cluster !== ''
    } catch {
      return false
    }
  }
  const server = await launch(folder, [...run, 'kafka.Kafka', properties], url, ready)
  return { ...server, port: ports.port, road: ports, logs }
}

const propertiesOf = ({ port, controller, listen, advertise }: Ports, logs: string, eager: boolean): string =>
  Object.entries({
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    'controller.listener.names': 'CONTROLLER',
    listeners: `PLAINTEXT://127.0.0.1:${port},ROAD://127.0.0.1:${listen},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port},ROAD://127.0.0.1:${advertise}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,ROAD:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': logs,
    'auto.create.topics.enable': false,
    // One broker holds one replica of everything.
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    // Small, so that it fits beside everything else on a developer's machine.
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.num.partitions': 4,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.cleaner.dedupe.buffer.size': 4 * 1024 * 1024,
    'log.index.size.max.bytes': 1024 * 1024,
    'group.initial.rebalance.delay.ms': 0,
    ...(eager && {
      'group.min.session.timeout.ms': 100,
      'log.initial.task.delay.ms': 100,
      'log.retention.check.interval.ms': 100,
      'log.cleaner.backoff.ms': 50,
      'log.segment.delete.delay.ms': 1_000,
      'transaction.abort.timed.out.transaction.cleanup.interval.ms': 200,
    }),
  })
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')
