import { z } from 'zod'

const port = z.int().min(0).max(65_535)
const bytes = z.int().min(1)
const milliseconds = z.int().min(1)
const rate = z.strictObject({ rate: z.number().positive(), burst: z.number().positive() })
const tls = z.strictObject({ certFile: z.string(), keyFile: z.string() })

/** Everything that weft.yaml may say. What is absent here has its default where it is used. */
export const Shape = z.strictObject({
  /** URL of the log: `embedded:DIRECTORY`. */
  log: z
    .string()
    .regex(/^[a-z][a-z0-9+]*:./, 'a URL such as embedded:.weft')
    .default('embedded:.weft'),
  /**
   * URL of a schema registry with Confluent's API, such as `http://localhost:8081`; values in a Kafka log are then framed by
   * its ids. Credentials are in WEFT_REGISTRY_TOKEN, or WEFT_REGISTRY_USER and WEFT_REGISTRY_PASSWORD.
   */
  registry: z.url({ protocol: /^https?$/ }).optional(),
  /** With less room on the disk of an embedded log nothing starts, and what runs ends cleanly. */
  leastFreeBytes: z
    .int()
    .min(0)
    .default(64 << 20),
  /** Folder of catalogue.yaml; the project's own if absent. */
  schemas: z.string().optional(),
  dev: z
    .strictObject({
      /** The dashboard and alerts; the next port takes events over HTTP, the one after over HTTPS. */
      port: port.max(65_533).default(7070),
      demo: z.boolean().default(true),
      speed: z.number().positive().optional(),
      /** Of each partition, in a store that `weft dev` makes: more than that much of the past is let go. */
      retentionBytes: bytes.default(16 * 2 ** 20),
    })
    .prefault({}),
  auth: z
    .strictObject({
      /** A YAML file of `key: tenant` (or `sha256:…: tenant`); the variable WEFT_WRITE_KEYS is `key=tenant,…`. */
      writeKeysFile: z.string().optional(),
      jwt: z
        .strictObject({
          secretFile: z.string().optional(),
          publicKeyFile: z.string().optional(),
          jwksUrl: z.url({ protocol: /^https?$/ }).optional(),
          issuer: z.string().optional(),
          audience: z.string().optional(),
          algorithms: z.array(z.string()).min(1).optional(),
        })
        .prefault({}),
    })
    .prefault({}),
  gateway: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      /** HTTPS and HTTP/2. */
      port: port.default(7072),
      /** Plain HTTP: on loopback, elsewhere only with `plainHttpAnywhere`. */
      httpPort: port.default(7071),
      plainHttpAnywhere: z.boolean().default(false),
      /** /metrics, /healthz and /readyz also where others than this machine can reach them. */
      publicOps: z.boolean().default(false),
      tls: tls.optional(),
      /** The index of event ids; beside an embedded log if absent. */
      directory: z.string().optional(),
      maxBodyBytes: bytes.optional(),
      maxInFlightBytes: bytes.optional(),
      /** How long an event id is known as used. */
      duplicateWindowMs: milliseconds.optional(),
      /** Events a second of each tenant, and at once. */
      rate: rate.optional(),
      /** Tenants with a rate of their own. */
      tenants: z.record(z.string(), rate).optional(),
      /** Where events wait while the log does not take them. */
      spool: z
        .strictObject({
          /** On unless the log is embedded, which lies on the same disk. */
          enabled: z.boolean().optional(),
          /** Of this gateway alone; if absent the first free of `spool-1`, `spool-2`… in its directory. */
          directory: z.string().optional(),
          /** Bytes on disk; beyond it events are refused with 503. */
          maxBytes: z
            .int()
            .min(1 << 20)
            .optional(),
          /** Bytes that stay free on the disk. */
          reserveBytes: z.int().min(0).optional(),
          /** So long an append may take before its events are spooled. */
          patienceMs: milliseconds.optional(),
        })
        .prefault({}),
      /** Through which several gateways share event ids and Idempotency-Keys. */
      redis: z.url({ protocol: /^rediss?$/, error: 'a URL such as redis://127.0.0.1:6379' }).optional(),
      /** Origins whose pages may send; any if absent. */
      corsOrigins: z.array(z.string()).optional(),
    })
    .prefault({}),
  pipeline: z
    .strictObject({
      /** The tasks of this process, each a list of stages; the default is one process with three tasks. */
      tasks: z.record(z.string(), z.array(z.string()).min(1)).optional(),
      modelFile: z.string().optional(),
      tickMs: milliseconds.optional(),
      /** How long windows and rules wait for events that are under way. */
      graceMs: milliseconds.optional(),
      /** Which alerts call for something to be done, and how long an entity is left alone afterwards. */
      interventions: z
        .array(
          z.strictObject({
            rule: z.string(),
            type: z.enum(['email', 'push', 'modal', 'script']),
            cooldownMs: milliseconds,
          }),
        )
        .optional(),
      /** Where commands are delivered to; the log if absent. */
      webhook: z.url({ protocol: /^https?$/ }).optional(),
      /** Of its `/metrics`, `/healthz` and `/readyz`. */
      opsPort: port.default(7073),
    })
    .prefault({}),
  alerts: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      port: port.default(7070),
      /** Without it plain HTTP, for loopback or behind a proxy. */
      tls: tls.optional(),
      connectionsPerTenant: z.int().min(1).optional(),
      /** A client that does not keep up: skips to the latest, or is sent away with its cursor. */
      slow: z.enum(['drop-to-latest', 'disconnect']).optional(),
      /** Origins whose pages may listen. */
      corsOrigins: z.array(z.string()).optional(),
    })
    .prefault({}),
  rules: z.array(z.unknown()).optional(),
})

export type Settings = z.output<typeof Shape>

/** A part of the shape as JSON Schema, as far as names and kinds of values go. */
export interface Described {
  readonly type?: string
  readonly properties?: Record<string, Described>
}

export const described = z.toJSONSchema(Shape, { io: 'input' }) as Described
