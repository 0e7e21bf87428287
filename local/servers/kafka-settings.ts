import type { CertificateFiles } from './certificates.ts'

/** Listeners that ask who comes. */
export const SECURE = ['SASL_PLAINTEXT', 'SASL_SSL', 'SSL'] as const
export type Secure = (typeof SECURE)[number]

/** `port` is open to all on this machine. */
export const PORTS = ['port', 'controller', 'listen', 'advertise', ...SECURE] as const
export type Ports = Readonly<Record<(typeof PORTS)[number], number>>

/** Whom this broker knows, on this machine only. */
export const USER = { name: 'weft', password: 'weft-secret' } as const
export const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

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

export type Properties = Readonly<Record<string, string | number>>

/** The text of server.properties; `own` has the last word. */
export const settings = (
  ports: Ports,
  logs: string,
  { ca, server }: CertificateFiles,
  eager: boolean,
  own: Properties,
): string =>
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
      // Here logins last two seconds, and clients have to log in again by then.
      'listener.name.sasl_plaintext.scram-sha-256.connections.max.reauth.ms': 2_000,
      'group.min.session.timeout.ms': 100,
      'log.initial.task.delay.ms': 100,
      'log.retention.check.interval.ms': 100,
      'log.cleaner.backoff.ms': 50,
      'log.segment.delete.delay.ms': 1_000,
      'transaction.abort.timed.out.transaction.cleanup.interval.ms': 200,
    }),
    ...own,
  })
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')
