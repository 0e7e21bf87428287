import { WeftError } from '../transport.ts'
import { COMPRESSIONS } from './compression.ts'
import type { Address, Compression, DriverOptions } from './driver.ts'
import { securityOf } from './security.ts'

export interface Settings extends Pick<DriverOptions, 'tls' | 'sasl'> {
  readonly brokers: readonly Address[]
  readonly driver: 'platformatic' | 'kafkajs'
  readonly sessionMs: number
  readonly patienceMs: number
  readonly transactionMs: number
  readonly handoverMs: number
  readonly standbys: number
  readonly compression: Compression
  readonly state: string | undefined
  readonly replicas: number | undefined
  readonly minInSync: number | undefined
}

const DRIVERS = ['platformatic', 'kafkajs'] as const
const SECURE = 'kafka+ssl:'

/** What a URL says; INVALID for what it cannot mean. */
export function settingsOf(url: string): Settings {
  const scheme = url.slice(0, url.indexOf(':') + 1)
  const [authority = '', query = ''] = url.slice(scheme.length).replace(/^\/\//, '').split('?', 2)
  const parameters = new URLSearchParams(query)
  if (authority.includes('@') || parameters.has('password'))
    throw new WeftError(
      'INVALID',
      'a URL is no place for a user’s password, because URLs get into logs: say sasl=scram-sha-512&user=NAME, and the password with passwordFile=FILE or the variable WEFT_KAFKA_PASSWORD',
    )
  const brokers = authority
    .replace(/\/$/, '')
    .split(',')
    .map(each => brokerOf(each, url))
  const known: string[] = []
  const take = (name: string) => {
    known.push(name)
    const given = parameters.get(name)
    parameters.delete(name)
    return given ?? undefined
  }
  const number = <T extends number | undefined>(name: string, otherwise: T, least: number): T | number => {
    const given = take(name)
    if (given === undefined) return otherwise
    const value = Number(given)
    if (!(Number.isInteger(value) && value >= least))
      throw new WeftError('INVALID', `"${url}": ${name} must be a whole number from ${least} on, not "${given}"`)
    return value
  }
  const one = <T extends string>(name: string, values: readonly T[], otherwise: T): T => {
    const given = take(name) ?? otherwise
    const value = values.find(each => each === given)
    if (!value) throw new WeftError('INVALID', `"${url}": ${name} must be one of ${values.join(', ')}, not "${given}"`)
    return value
  }
  const settings = {
    brokers,
    driver: one('driver', DRIVERS, 'platformatic'),
    sessionMs: number('sessionMs', 10_000, 100),
    patienceMs: number('patienceMs', 10_000, 0),
    transactionMs: number('transactionMs', 60_000, 1_000),
    handoverMs: number('handoverMs', 300_000, 0),
    standbys: number('standbys', 0, 0),
    compression: one('compression', COMPRESSIONS, 'none'),
    state: take('state'),
    replicas: number('replicas', undefined, 1),
    minInSync: number('minInSync', undefined, 1),
    ...securityOf(take, { secure: scheme === SECURE }),
  }
  const { replicas, minInSync } = settings
  if (replicas !== undefined && minInSync !== undefined && minInSync > replicas)
    throw new WeftError('INVALID', `"${url}": of ${replicas} replicas ${minInSync} cannot be in sync`)
  const unknown = [...parameters.keys()]
  if (unknown.length > 0)
    throw new WeftError(
      'INVALID',
      `"${url}" has unknown parameters (${unknown.join(', ')}): ${known.join(', ')} are known`,
    )
  return settings
}

function brokerOf(text: string, url: string): Address {
  const [, host = '', port = '9092'] = /^(\[[0-9a-f:]+\]|[^:]+)(?::(\d+))?$/i.exec(text) ?? []
  if (host === '' || Number(port) > 65_535)
    throw new WeftError(
      'INVALID',
      `"${url}" names no broker: expected kafka://HOST:PORT or kafka+ssl://HOST:PORT, several with commas between them`,
    )
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}
