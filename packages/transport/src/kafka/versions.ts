import { KafkaError } from './driver.ts'

/** The versions of a request that a broker takes, as ApiVersions tells them. */
export interface Offered {
  readonly minVersion: number
  readonly maxVersion: number
}

/** The newest version of a request that both sides speak. UNSUPPORTED_VERSION if there is none. */
export function agreed(request: string, spoken: readonly number[], offered: Offered | undefined): number {
  const { minVersion, maxVersion } = offered ?? { minVersion: 0, maxVersion: -1 }
  const common = spoken.filter(version => version >= minVersion && version <= maxVersion)
  if (common.length > 0) return Math.max(...common)
  throw new KafkaError(
    'UNSUPPORTED_VERSION',
    `${request} is spoken in ${rangeOf(Math.min(...spoken), Math.max(...spoken))} here, and in ${rangeOf(minVersion, maxVersion)} there: Kafka from 3.0 on is needed, or what speaks its protocol`,
  )
}

const rangeOf = (from: number, to: number) =>
  from > to ? 'no version' : from === to ? `version ${from}` : `versions ${from} to ${to}`
