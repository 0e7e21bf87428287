import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import { type CertificateFiles, certificatesIn } from './certificates.ts'
import { fetched, java } from './jars.ts'
import { choosePorts, notedPorts } from './ports.ts'
import { answersOk, launch, running, type ServerOptions, type ServerProcess } from './running-server.ts'

const PORTS = ['port', 'web', 'tls', 'webTls'] as const
type Ports = Readonly<Record<(typeof PORTS)[number], number>>

/** `url` speaks Pulsar's own protocol; everything asks for a token. */
export interface PulsarServer extends ServerProcess {
  /** Of the REST API, and of the WebSocket API under `ws`. */
  readonly web: string
  /** The same two over TLS. */
  readonly tls: { readonly url: string; readonly web: string }
  readonly certificates: CertificateFiles
  /** Lets its bearer in as `role`; `admin` may do everything. `expires` in epoch milliseconds. */
  token(role: string, expires?: number): string
}

/** Starts Pulsar standalone without Docker, or finds it running. Resolves when it answers. */
export async function startPulsar({
  folder,
  ports: wanted,
  heapMb = 512,
  say = () => {},
}: ServerOptions): Promise<PulsarServer> {
  mkdirSync(folder, { recursive: true })
  const certificates = await certificatesIn(folder)
  const key = path.join(folder, 'token.key')
  if (!existsSync(key)) writeFileSync(key, randomBytes(32), { mode: 0o600 })
  const token = (role: string, expires?: number) => tokenOf(readFileSync(key), role, expires)
  const described = (server: ServerProcess, { web, tls, webTls }: Ports): PulsarServer => ({
    ...server,
    web: `http://127.0.0.1:${web}`,
    tls: { url: `pulsar+ssl://127.0.0.1:${tls}`, web: `https://127.0.0.1:${webTls}` },
    certificates,
    token,
  })
  const [found, noted] = [running(folder), notedPorts<keyof Ports>(folder)]
  if (found && noted) return described(found, noted)
  const { binary, version } = java()
  const home = path.join(await fetched('pulsar', say), 'apache-pulsar-4.0.8')
  const ports = await choosePorts(folder, PORTS, wanted)
  const configuration = path.join(folder, 'standalone.conf')
  // Where a certificate is expected, Pulsar takes no key before it.
  const certificate = path.join(folder, 'server.cert.pem')
  const pem = readFileSync(certificates.server, 'utf8')
  writeFileSync(certificate, pem.slice(pem.indexOf('-----BEGIN CERTIFICATE-----')))
  writeFileSync(configuration, settings(ports, { ...certificates, certificate }, key, token('admin')))
  const admin = path.join(folder, 'admin.token')
  writeFileSync(admin, token('admin'), { mode: 0o600 })
  const command = [
    binary,
    ...jvm(version, heapMb),
    ...['-cp', path.join(home, 'lib', '*'), 'org.apache.pulsar.PulsarStandaloneStarter', '-c', configuration],
    ...['--no-functions-worker', '--no-stream-storage', '-a', '127.0.0.1'],
    ...[`--metadata-dir=${path.join(folder, 'metadata')}`, `--bookkeeper-dir=${path.join(folder, 'bookkeeper')}`],
  ] as const
  const url = `pulsar://127.0.0.1:${ports.port}`
  say(`starting Pulsar at ${url}`)
  const web = `http://127.0.0.1:${ports.web}`
  const also = { admin: web, 'over TLS': `pulsar+ssl://127.0.0.1:${ports.tls}`, "admin's token": admin }
  const headers = { authorization: `Bearer ${token('admin')}` }
  const ready = () => answersOk(`${web}/admin/v2/namespaces/public/default`, headers)
  return described(await launch(folder, command, { url, also }, ready, { PULSAR_STANDALONE_USE_ZOOKEEPER: '' }), ports)
}

/** A JSON web token, signed with HS256. */
function tokenOf(key: Uint8Array, role: string, expires?: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { sub: role, ...(expires !== undefined && { exp: Math.floor(expires / 1000) }) }
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`
}

/** What Pulsar needs of a JVM of that version. */
const jvm = (version: number, heapMb: number): string[] => [
  ...[`-Xms${Math.min(256, heapMb)}m`, `-Xmx${heapMb}m`, '-XX:MaxDirectMemorySize=512m'],
  ...['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
  ...[
    'java.base/java.io',
    'java.base/java.util.zip',
    'java.base/java.nio',
    'java.base/jdk.internal.misc',
    'java.base/jdk.internal.platform',
    'java.management/sun.management',
    'jdk.management/com.sun.management.internal',
  ].flatMap(name => ['--add-opens', `${name}=ALL-UNNAMED`]),
  ...(version >= 23 ? ['--sun-misc-unsafe-memory-access=allow', '--enable-native-access=ALL-UNNAMED'] : []),
  ...['bookie', 'client'].map(
    side =>
      `-Dbookkeeper.metadata.${side}.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadata${side === 'bookie' ? 'Bookie' : 'Client'}Driver`,
  ),
]

/** What the bookie listens on; it would take all interfaces. */
const loopback = () =>
  Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ address }) => address === '127.0.0.1'),
  )?.[0]

/** The text of standalone.conf. */
const settings = (
  ports: Ports,
  { ca, server, certificate }: CertificateFiles & { readonly certificate: string },
  key: string,
  token: string,
): string =>
  Object.entries({
    clusterName: 'standalone',
    bindAddress: '127.0.0.1',
    brokerServicePort: ports.port,
    webServicePort: ports.web,
    brokerServicePortTls: ports.tls,
    webServicePortTls: ports.webTls,
    tlsCertificateFilePath: certificate,
    tlsKeyFilePath: server,
    tlsTrustCertsFilePath: ca,
    webSocketServiceEnabled: true,
    // Who comes, and what they may.
    authenticationEnabled: true,
    authorizationEnabled: true,
    authenticationProviders: 'org.apache.pulsar.broker.authentication.AuthenticationProviderToken',
    tokenSecretKey: `file://${key}`,
    superUserRoles: 'admin',
    brokerClientAuthenticationPlugin: 'org.apache.pulsar.client.impl.auth.AuthenticationToken',
    brokerClientAuthenticationParameters: `token:${token}`,
    // What the contract needs.
    transactionCoordinatorEnabled: true,
    systemTopicEnabled: true,
    topicLevelPoliciesEnabled: true,
    acknowledgmentAtBatchIndexLevelEnabled: true,
    brokerDeduplicationSnapshotIntervalSeconds: 5,
    // 5 MiB and what frames add to them: without it an entry of nearly 5 MiB makes the broker reopen ledgers for ever.
    nettyMaxFrameSizeBytes: 5_253_120,
    // One bookie holds one copy of everything.
    managedLedgerDefaultEnsembleSize: 1,
    managedLedgerDefaultWriteQuorum: 1,
    managedLedgerDefaultAckQuorum: 1,
    listeningInterface: loopback(),
    allowLoopback: true,
    journalSyncData: false,
    diskUsageThreshold: 0.99,
    diskUsageWarnThreshold: 0.98,
    loadBalancerEnabled: false,
    // Small, so that it fits beside everything else on a developer's machine.
    numIOThreads: 2,
    numOrderedExecutorThreads: 2,
    numHttpServerThreads: 8,
    managedLedgerCacheSizeMB: 32,
    dbStorage_writeCacheMaxSizeMb: 32,
    dbStorage_readAheadCacheMaxSizeMb: 16,
    dbStorage_rocksDB_blockCacheSize: 8 << 20,
    journalMaxSizeMB: 64,
  })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')
