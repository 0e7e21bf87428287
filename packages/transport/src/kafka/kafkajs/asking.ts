import type { Address } from '../driver.ts'
import { refusalOf } from '../refusal.ts'
import { agreed } from '../versions.ts'
import type { Connections } from './connections.ts'
import { apiKeys, Decoder, type Definition, Encoder, type Request, requests } from './library.ts'

/** A kind of request, in the versions that are spoken here. */
export interface Api<A, T> {
  readonly name: string
  readonly key: number
  readonly versions: readonly number[]
  exchange(version: number, args: A): { readonly request: Request; decode(bytes: Buffer): Promise<T> }
}

/** One request to a broker. An answer with errors in its parts is an answer. */
export type Ask = <A, T>(broker: Address, api: Api<A, T>, args: A) => Promise<T>

/** The same of whichever broker answers. */
export type AskAny = <A, T>(api: Api<A, T>, args: A) => Promise<T>

export function asking(connections: Connections): Ask {
  const met = new Set<string>()
  return async (broker, api, args) => {
    const name = `${broker.host}:${broker.port}`
    try {
      const { connection, offered, end } = await connections.get(broker)
      const { request, decode } = api.exchange(agreed(api.name, api.versions, offered.get(api.key)), args)
      try {
        const response = { decode, parse: async (answer: unknown) => answer }
        const answer = await connection.send({ request, response, logResponseError: false })
        met.add(name)
        return answer as Awaited<ReturnType<typeof decode>>
      } catch (error) {
        // An answer that comes later would find nobody, and whatever follows on this connection would wait behind it.
        if ((error as Error).name === 'KafkaJSRequestTimeoutError') await end()
        throw error
      }
    } catch (error) {
      throw refusalOf(error, broker, { met: met.has(name) })
    }
  }
}

/** A request that the library encodes, and decodes unless `decode` is there. */
export function api<A extends object, T>(
  name: string,
  versions: readonly number[],
  decode?: (from: Decoder) => T,
): Api<A, T> {
  const definition = requests[name] as Definition
  return {
    name,
    key: apiKeys[name] as number,
    versions,
    exchange(version, args) {
      const { request, response } = definition.protocol({ version })(args)
      const own = decode && (async (bytes: Buffer) => decode(new Decoder(bytes)))
      return { request, decode: own ?? (response.decode as (bytes: Buffer) => Promise<T>) }
    },
  }
}

/** A request that the library does not know, or not in these versions, in its encoder's words. */
export function ownApi<A, T>({
  name,
  key,
  versions,
  flexibleFrom = Number.POSITIVE_INFINITY,
  encode,
  decode,
}: {
  readonly name: string
  readonly key: number
  readonly versions: readonly number[]
  /** The first version whose headers have tagged fields (KIP-482). */
  readonly flexibleFrom?: number
  readonly encode: (to: Encoder, args: A, version: number) => void
  readonly decode: (from: Decoder, version: number) => T
}): Api<A, T> {
  return {
    name,
    key,
    versions,
    exchange(version, args) {
      const flexible = version >= flexibleFrom
      return {
        request: {
          apiKey: key,
          apiVersion: version,
          apiName: name,
          encode: async () => {
            const to = new Encoder()
            if (flexible) noTags(to)
            encode(to, args, version)
            return to
          },
        },
        decode: async bytes => {
          const from = new Decoder(bytes)
          if (flexible) skipTags(from)
          return decode(from, version)
        },
      }
    },
  }
}

export const noTags = (to: Encoder): Encoder => to.writeUVarInt(0)

/** The library's own way of skipping them reads one byte too few of each. */
export function skipTags(from: Decoder): void {
  for (let count = from.readUVarInt(); count > 0; count--) {
    from.readUVarInt()
    const bytes = from.readUVarInt()
    from.offset += bytes
  }
}
