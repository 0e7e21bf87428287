import { apiVersionsV2, type Connection, type ConnectionPool, ResponseError } from '@platformatic/kafka'
import { type Address, KafkaError } from '../driver.ts'
import { refusalOf } from '../refusal.ts'
import { agreed, type Offered } from '../versions.ts'

interface Version<T, A extends unknown[]> {
  readonly key: number
  readonly version: number
  async(connection: Connection, ...args: A): Promise<T>
}

/** A request in the versions that are spoken here, newest first; the library makes their arguments and answers alike. */
export interface Api<T, A extends unknown[]> {
  readonly name: string
  readonly versions: readonly [Version<T, A>, ...Version<T, A>[]]
}

export const api = <T, A extends unknown[]>(
  name: string,
  newest: { readonly api: Version<T, A> },
  ...older: readonly { readonly api: { readonly key: number; readonly version: number } }[]
): Api<T, A> => ({ name, versions: [newest.api, ...older.map(each => each.api as Version<T, A>)] })

/** One request to a broker. An answer with errors in its parts is an answer. */
export type Ask = <T, A extends unknown[]>(broker: Address, api: Api<T, A>, ...args: A) => Promise<T>

/** The same of whichever broker answers. */
export type AskAny = <T, A extends unknown[]>(api: Api<T, A>, ...args: A) => Promise<T>

/** What each connection's broker offers; asked once for a connection. */
const offers = new WeakMap<Connection, Promise<ReadonlyMap<number, Offered>>>()

async function offersOf(connection: Connection): Promise<ReadonlyMap<number, Offered>> {
  try {
    const { apiKeys } = await apiVersionsV2.api.async(connection, '', '')
    return new Map(apiKeys.map(each => [each.apiKey, each]))
  } catch (error) {
    offers.delete(connection)
    // An answer, but not to the request that waits for this one.
    if (error instanceof ResponseError) throw new KafkaError('UNSUPPORTED_VERSION', error.message, error)
    throw error
  }
}

export function asking(pool: ConnectionPool): Ask {
  // What ended a connection: whoever waits for an answer is only told that it was closed.
  const endings = new WeakMap<Connection, Error>()
  pool.on('connecting', ({ connection }: { connection: Connection }) => {
    connection.on('error', error => endings.set(connection, error))
  })
  const met = new Set<string>()
  return async (broker, { name, versions }, ...args) => {
    const at = `${broker.host}:${broker.port}`
    let connection: Connection | undefined
    try {
      connection = (await pool.get(broker)) as Connection
      let offered = offers.get(connection)
      if (!offered) {
        offered = offersOf(connection)
        offers.set(connection, offered)
      }
      const [{ key }] = versions
      const chosen = agreed(
        name,
        versions.map(({ version }) => version),
        (await offered).get(key),
      )
      const api = versions.find(({ version }) => version === chosen) as (typeof versions)[number]
      const answer = await api.async(connection, ...args)
      met.add(at)
      return answer
    } catch (error) {
      if (error instanceof ResponseError && error.response) {
        met.add(at)
        return error.response as never
      }
      throw refusalOf((connection && endings.get(connection)) ?? error, broker, { met: met.has(at) })
    }
  }
}
