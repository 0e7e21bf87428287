import type { EmbeddedTransport } from './embedded/embedded.ts'
import type { SchemaIds } from './schema-ids.ts'
import { type Transport, WeftError } from './transport.ts'

export interface OpenOptions {
  /** Restricts what is opened to this tenant's topics: any other is DENIED. */
  readonly tenant?: string
  /** Names this process in groups and metrics. */
  readonly clientId?: string
  /** Of a schema registry, for transports that carry schemas by its ids: on Kafka values are framed as Confluent does. */
  readonly schemas?: SchemaIds
}

/**
 * Opens a transport by its URL: `embedded:DIRECTORY`, `kafka://HOST:PORT` or `kafka+ssl://HOST:PORT`. INVALID for a
 * scheme that is not known.
 * The only place that knows the drivers' names; each is loaded when it is asked for.
 */
export async function open(url: string, options: OpenOptions = {}): Promise<Transport> {
  const scheme = url.slice(0, url.indexOf(':') + 1)
  switch (scheme) {
    case 'embedded:':
      return openEmbedded(url, options)
    case 'kafka:':
    case 'kafka+ssl:':
      return (await import('./kafka/kafka.ts')).openKafka(url, options)
    default:
      throw new WeftError(
        'INVALID',
        `"${url}" is not a transport's URL: expected embedded:DIRECTORY, kafka://HOST:PORT or kafka+ssl://HOST:PORT`,
      )
  }
}

/** The same for an embedded store, with what only that one has: `maintain` and `backup`. */
export async function openEmbedded(url: string, options: OpenOptions = {}): Promise<EmbeddedTransport> {
  return (await import('./embedded/embedded.ts')).openEmbedded(url, options)
}
