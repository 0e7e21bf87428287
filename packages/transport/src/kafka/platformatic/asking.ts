import {
  AuthenticationError,
  type Connection,
  type ConnectionPool,
  protocolErrorsCodesById,
  ResponseError,
} from '@platformatic/kafka'
import { type Broker, KafkaError, type Place } from '../driver.ts'

/** One request to a broker. An answer with errors in its parts is an answer. */
export type Ask = <T, A extends unknown[]>(
  broker: Pick<Broker, 'host' | 'port'>,
  api: { async: (connection: Connection, ...args: A) => Promise<T> },
  ...args: A
) => Promise<T>

/** The same of whichever broker answers. */
export type AskAny = <T, A extends unknown[]>(
  api: { async: (connection: Connection, ...args: A) => Promise<T> },
  ...args: A
) => Promise<T>

export const asking =
  (pool: ConnectionPool): Ask =>
  async (broker, api, ...args) => {
    try {
      const connection = (await pool.get(broker)) as Connection
      return await api.async(connection, ...args)
    } catch (error) {
      if (error instanceof ResponseError && error.response)
        return error.response as Awaited<ReturnType<typeof api.async>>
      throw new KafkaError(codeOf(error), `${broker.host}:${broker.port}: ${(error as Error).message}`, error)
    }
  }

const UNREADABLE = new Set(['PLT_KFK_UNSUPPORTED_COMPRESSION', 'PLT_KFK_UNSUPPORTED', 'PLT_KFK_OUT_OF_BOUNDS'])

/** What went wrong when there is no answer: to try again helps unless the answer itself can't be read or we are refused. */
function codeOf(error: unknown): string {
  if (error instanceof AuthenticationError || (error as Error).cause instanceof AuthenticationError)
    return 'SASL_AUTHENTICATION_FAILED'
  const { code } = error as { code?: string }
  return error instanceof TypeError || error instanceof RangeError || UNREADABLE.has(code ?? '')
    ? 'UNREADABLE'
    : 'NETWORK'
}

export const buffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const errorOf = (code: number): string =>
  (protocolErrorsCodesById as Record<string, string>)[String(code)] ?? `UNKNOWN_ERROR_${code}`

export const failed = (code: number): { error?: string } => (code === 0 ? {} : { error: errorOf(code) })

export function check(code: number, what: string): void {
  if (code !== 0) throw new KafkaError(errorOf(code), `${what}: ${errorOf(code)}`)
}

export function grouped<P extends Place, T>(places: readonly P[], map: (place: P) => T): [topic: string, parts: T[]][] {
  const topics = new Map<string, T[]>()
  for (const place of places) {
    const parts = topics.get(place.topic)
    if (parts) parts.push(map(place))
    else topics.set(place.topic, [map(place)])
  }
  return [...topics]
}
