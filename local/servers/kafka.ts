import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type CertificateFiles, certificatesIn } from './certificates.ts'
import { fetched, java } from './jars.ts'
import { PORTS, type Ports, type Properties, SCRAM, SECURE, type Secure, settings, USER } from './kafka-settings.ts'
import { choosePorts, notedPorts } from './ports.ts'
import { answered, launch, running, type ServerOptions, type ServerProcess } from './running-server.ts'

export interface KafkaOptions extends ServerOptions {
  /** Cleans up by retention and compaction several times a second, and lets sessions be short: for tests. */
  readonly eager?: boolean
  /** Compiles as far as the JVM can, which takes longer to get going: for benchmarks. */
  readonly fast?: boolean
  /** What comes before the command, as to pin it to a core. */
  readonly under?: readonly string[]
  /** Instead of what server.properties would say, and beside it. */
  readonly properties?: Properties
  /** Of the cluster that it belongs to; random by default. */
  readonly clusterId?: string
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

/** Starts one broker in KRaft mode without Docker, or finds it running. Resolves when it answers. */
export async function startKafka({
  folder,
  ports: wanted = {},
  heapMb = 384,
  eager = false,
  fast = false,
  under = [],
  properties: own = {},
  clusterId = randomUUID(),
  say = () => {},
}: KafkaOptions): Promise<KafkaServer> {
  mkdirSync(folder, { recursive: true })
  const logs = path.join(folder, 'data')
  const certificates = await certificatesIn(folder)
  const described = (server: ServerProcess, { port, listen, advertise, SASL_PLAINTEXT, SASL_SSL, SSL }: Ports) => {
    const secure = { SASL_PLAINTEXT, SASL_SSL, SSL }
    return { ...server, port, road: { listen, advertise }, secure, user: USER, certificates, logs }
  }
  const [found, noted] = [running(folder), notedPorts<keyof Ports>(folder)]
  if (found && noted) return described(found, noted)
  const { binary } = java()
  const classes = path.join(await fetched('kafka', say), '*')
  const ports = await choosePorts(folder, PORTS, wanted)
  const properties = path.join(folder, 'server.properties')
  writeFileSync(properties, settings(ports, logs, certificates, eager, own))
  const heap = [`-Xms${Math.min(128, heapMb)}m`, `-Xmx${heapMb}m`, '-XX:+UseSerialGC']
  const run = [...heap, ...(fast ? [] : ['-XX:TieredStopAtLevel=1']), '-cp', classes]
  if (!existsSync(path.join(logs, 'meta.properties'))) {
    const users = SCRAM.flatMap(kind => ['--add-scram', `${kind}=[name=${USER.name},password=${USER.password}]`])
    const format = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', properties, ...users]
    const { status, stdout, stderr } = spawnSync(binary, [...run, ...format], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`Kafka could not format ${logs}:\n${(stdout + stderr).trim()}`)
  }
  const url = `kafka://127.0.0.1:${ports.port}`
  say(`starting Kafka at ${url}`)
  const also = {
    ...Object.fromEntries(SECURE.map(name => [name, `127.0.0.1:${ports[name]}`])),
    user: `${USER.name}, password ${USER.password}`,
    certificates: `${certificates.ca}, ${certificates.client}`,
  }
  const [command = binary, ...args] = [...under, binary, ...run, 'kafka.Kafka', properties]
  const server = await launch(folder, [command, ...args], { url, also }, () => kafkaAnswers(ports.port))
  return described(server, ports)
}

/** Whether a broker there answers what it can (ApiVersions, https://kafka.apache.org/protocol), which it does when it has joined. */
export async function kafkaAnswers(port: number): Promise<boolean> {
  const request = Buffer.from('0000000e' + '0012' + '0000' + '00000001' + '0004' + '77656674', 'hex')
  const answer = await answered(port, request, 10)
  // Its length, the number of the request, no error.
  return answer?.readInt32BE(4) === 1 && answer.readInt16BE(8) === 0
}
