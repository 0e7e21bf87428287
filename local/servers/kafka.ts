import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { open } from '@weft/transport'
import { type CertificateFiles, certificatesIn } from './certificates.ts'
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
  /** Ports of the listeners that ask who comes: `user` by SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN, at SSL the client's certificate. */
  readonly secure: Readonly<Record<Secure, number>>
  readonly user: typeof USER
  readonly certificates: CertificateFiles
  readonly logs: string
}

const SECURE = ['SASL_PLAINTEXT', 'SASL_SSL', 'SSL'] as const
type Secure = (typeof SECURE)[number]

interface Ports extends Readonly<Record<Secure, number>> {
  readonly port: number
  readonly controller: number
  readonly listen: number
  readonly advertise: number
}

/** Whom this broker knows, on this machine only. */
const USER = { name: 'weft', password: 'weft-secret' } as const
const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

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
  const logs = path.join(folder, 'data')
  const certificates = await certificatesIn(folder)
  const described = (server: ServerProcess, { port, listen, advertise, SASL_PLAINTEXT, SASL_SSL, SSL }: Ports) => {
    const secure = { SASL_PLAINTEXT, SASL_SSL, SSL }
    return { ...server, port, road: { listen, advertise }, secure, user: USER, certificates, logs }
  }
  const found = running(folder)
  if (found) return described(found, JSON.parse(readFileSync(noted, 'utf8')))
  const binary = java()
  const classes = await classPath('kafka', say)
  if (port !== undefined && (await listens(port)))
    throw new Error(`port ${port} is in use: stop what listens there, or take another with --port`)
  // A broker that was here before is looked for where it was.
  const before: Partial<Ports> = existsSync(noted) ? JSON.parse(readFileSync(noted, 'utf8')) : {}
  const [any, controller, listen, advertise, SASL_PLAINTEXT, SASL_SSL, SSL] = await freePorts(7)
  const fresh = { controller, listen, advertise, SASL_PLAINTEXT, SASL_SSL, SSL }
  const ports = { ...fresh, ...before, port: port ?? before.port ?? any } as Ports
  writeFileSync(noted, JSON.stringify(ports))
  const properties = path.join(folder, 'server.properties')
  writeFileSync(properties, propertiesOf(ports, logs, certificates, eager))
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
    const users = SCRAM.flatMap(kind => ['--add-scram', `${kind}=[name=${USER.name},password=${USER.password}]`])
    const format = ['kafka.tools.StorageTool', 'format', '-t', randomUUID(), '-c', properties, ...users]
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
  return described(server, ports)
}

const listenersOf = ({ port, listen, SASL_PLAINTEXT, SASL_SSL, SSL }: Ports) => ({
  PLAINTEXT: port,
  ROAD: listen,
  SASL_PLAINTEXT,
  SASL_SSL,
  SSL,
})

const urls = (ports: object) => Object.entries(ports).map(([name, port]) => `${name}://127.0.0.1:${port}`)

/** How a listener with SASL knows its users. */
function sasl(listener: string): Record<string, string> {
  const at = `listener.name.${listener.toLowerCase()}`
  const login = (name: string) => `org.apache.kafka.common.security.${name}LoginModule required`
  return {
    [`${at}.sasl.enabled.mechanisms`]: [...SCRAM, 'PLAIN'].join(),
    ...Object.fromEntries(
      SCRAM.map(kind => [`${at}.${kind.toLowerCase()}.sasl.jaas.config`, `${login('scram.Scram')};`]),
    ),
    [`${at}.plain.sasl.jaas.config`]: `${login('plain.Plain')} user_${USER.name}="${USER.password}";`,
  }
}

const propertiesOf = (ports: Ports, logs: string, { ca, server }: CertificateFiles, eager: boolean): string =>
  Object.entries({
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${ports.controller}`,
    'controller.listener.names': 'CONTROLLER',
    listeners: urls({ ...listenersOf(ports), CONTROLLER: ports.controller }).join(),
    'advertised.listeners': urls({ ...listenersOf(ports), ROAD: ports.advertise }).join(),
    'listener.security.protocol.map':
      'PLAINTEXT:PLAINTEXT,ROAD:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL',
    ...sasl('SASL_PLAINTEXT'),
    ...sasl('SASL_SSL'),
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': server,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': ca,
    'listener.name.ssl.ssl.client.auth': 'required',
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
    ...Object.fromEntries(SECURE.map(name => [`listener.name.${name.toLowerCase()}.num.network.threads`, 1])),
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
