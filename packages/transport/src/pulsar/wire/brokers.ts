import type { ConnectionOptions } from 'node:tls'
import type { CommandOf } from './commands.ts'
import { type Authentication, Connection } from './connection.ts'
import { PulsarError } from './pulsar-error.ts'

export interface BrokersOptions {
  /** pulsar://HOST:PORT,HOST:PORT or pulsar+ssl://…: any brokers of the cluster, or its proxy. */
  readonly serviceUrl: string
  readonly tls?: (() => ConnectionOptions) | undefined
  readonly authentication?: Authentication | undefined
  /** Which of the addresses a broker advertises is meant, where it has several. */
  readonly listener?: string | undefined
  readonly clientVersion?: string
  readonly timeoutMs?: number
  readonly keepAliveMs?: number
}

interface Address {
  readonly host: string
  readonly port: number
}

const REDIRECTS = 20
const PORTS = { 'pulsar:': 6650, 'pulsar+ssl:': 6651 } as const

/** A service URL's addresses. Throws TypeError that says what is wrong. */
export function addressesOf(serviceUrl: string): { readonly tls: boolean; readonly addresses: readonly Address[] } {
  const [, scheme = '', rest = ''] = /^(pulsar(?:\+ssl)?:)\/\/([^/?#]+)\/?$/.exec(serviceUrl) ?? []
  if (scheme !== 'pulsar:' && scheme !== 'pulsar+ssl:')
    throw new TypeError(`"${serviceUrl}" is no service URL of Pulsar: pulsar://HOST:6650 or pulsar+ssl://HOST:6651`)
  const addresses = rest.split(',').map(part => {
    const { hostname, port } = new URL(`tcp://${part}`)
    return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port ? Number(port) : PORTS[scheme] }
  })
  return { tls: scheme === 'pulsar+ssl:', addresses }
}

/** Finds the broker of a topic, and keeps one connection to each broker. What fails is not tried again here. */
export class Brokers {
  readonly #addresses: readonly Address[]
  readonly #tls: boolean
  readonly #options: BrokersOptions & { clientVersion: string; timeoutMs: number; keepAliveMs: number }
  readonly #connections = new Map<string, Promise<Connection>>()
  #turn = 0
  #closed = false

  constructor({ clientVersion = 'weft', timeoutMs = 10_000, keepAliveMs = 15_000, ...options }: BrokersOptions) {
    this.#options = { ...options, clientVersion, timeoutMs, keepAliveMs }
    const { tls, addresses } = addressesOf(options.serviceUrl)
    this.#tls = tls
    this.#addresses = addresses
  }

  /** To any broker. */
  async any(): Promise<Connection> {
    let failed: unknown
    for (let tried = 0; tried < this.#addresses.length; tried++) {
      const address = this.#addresses[this.#turn % this.#addresses.length] as Address
      try {
        return await this.#to(address)
      } catch (error) {
        failed = error
        this.#turn++
      }
    }
    throw failed
  }

  /** To the broker that serves the topic now (one partition of a partitioned one). */
  async of(topic: string): Promise<Connection> {
    const { listener } = this.#options
    let connection = await this.any()
    let authoritative = false
    for (let redirect = 0; redirect < REDIRECTS; redirect++) {
      const doing = `looking up ${topic}`
      const found: CommandOf<'lookupResponse'> = await connection.request(
        'lookup',
        { topic, authoritative, listener },
        { doing },
      )
      if (found.response === 2 || found.response === undefined) throw PulsarError.of(found.error, found.message, doing)
      const url = this.#tls ? found.brokerUrlTls : found.brokerUrl
      if (!url)
        throw new PulsarError('MetadataError', `${doing}: its broker has no ${this.#tls ? 'TLS' : 'plain'} address`)
      const address = addressesOf(url).addresses[0] as Address
      const next = found.proxyThroughServiceUrl
        ? await this.#through(`${address.host}:${address.port}`)
        : await this.#to(address)
      if (found.response === 1) return next
      connection = next
      authoritative = found.authoritative ?? false
    }
    throw new PulsarError('ServiceNotReady', `looking up ${topic}: more than ${REDIRECTS} redirects`)
  }

  /** 0: the topic is not partitioned, or does not exist. */
  async partitions(topic: string): Promise<number> {
    const doing = `asking for the partitions of ${topic}`
    const found = await (await this.any()).request('partitionedMetadata', { topic }, { doing })
    if (found.response === 1 || found.error !== undefined) throw PulsarError.of(found.error, found.message, doing)
    return found.partitions ?? 0
  }

  /** All persistent topics of a namespace, partitions by their own names. */
  async topicsOf(namespace: string): Promise<readonly string[]> {
    const connection = await this.any()
    const { topics = [] } = await connection.request(
      'topicsOfNamespace',
      { namespace, mode: 0 },
      { doing: `listing the topics of ${namespace}` },
    )
    return topics
  }

  #to(address: Address): Promise<Connection> {
    return this.#keep(`${address.host}:${address.port}`, address)
  }

  #through(broker: string): Promise<Connection> {
    return this.#keep(`proxy to ${broker}`, this.#addresses[this.#turn % this.#addresses.length] as Address, broker)
  }

  #keep(name: string, { host, port }: Address, proxyTo?: string): Promise<Connection> {
    if (this.#closed) return Promise.reject(new PulsarError('Closed', 'the client was closed'))
    const kept = this.#connections.get(name)
    if (kept) return kept
    const { authentication, clientVersion, timeoutMs, keepAliveMs } = this.#options
    const tls = this.#tls ? (this.#options.tls ?? (() => ({}))) : undefined
    const opening = Connection.open({ host, port, tls, authentication, proxyTo, clientVersion, timeoutMs, keepAliveMs })
    this.#connections.set(name, opening)
    const forget = () => {
      if (this.#connections.get(name) === opening) this.#connections.delete(name)
    }
    opening.then(connection => {
      if (this.#closed) connection.close()
      void connection.gone.then(forget)
    }, forget)
    return opening
  }

  /** Closes all connections: what is under way is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    const connections = await Promise.allSettled(this.#connections.values())
    for (const each of connections) if (each.status === 'fulfilled') each.value.close()
  }
}
