import { createRequire } from 'node:module'
import type { Socket } from 'node:net'

/**
 * What is used of kafkajs 2.2.4, the part below its Producer, Consumer and Admin. The library has no types for it, so
 * they stand here, and the version is pinned.
 */
const load = createRequire(import.meta.url)

export interface Encoder {
  writeInt8(value: number): Encoder
  writeInt16(value: number): Encoder
  writeInt32(value: number): Encoder
  writeInt64(value: bigint): Encoder
  writeBoolean(value: boolean): Encoder
  writeString(value: string | null): Encoder
  writeBytes(value: Buffer): Encoder
  writeUVarInt(value: number): Encoder
  writeUVarIntString(value: string | null): Encoder
}

export interface Decoder {
  offset: number
  readInt8(): number
  readInt16(): number
  readInt32(): number
  readInt64(): bigint
  readBoolean(): boolean
  readString(): string | null
  /** Empty for null. */
  readArray<T>(read: (decoder: Decoder) => T): T[]
  readBytes(): Buffer | null
  readUVarInt(): number
  readUVarIntString(): string | null
  readUVarIntArray<T>(read: (decoder: Decoder) => T): T[] | null
}

export interface Request {
  readonly apiKey: number
  readonly apiVersion: number
  readonly apiName: string
  readonly encode: () => Promise<Encoder>
}

export interface Response {
  /** `decode` reads the answer; what else the library has here turns one error code of many into an exception. */
  readonly decode: (bytes: Buffer) => Promise<unknown>
}

export interface Definition {
  readonly versions: readonly string[]
  protocol(options: { version: number }): (args: object) => { readonly request: Request; readonly response: Response }
}

export interface Connection {
  readonly socket: Socket | undefined
  readonly requestQueue: {
    readonly pending: readonly unknown[]
    readonly throttledUntil: number
    scheduleCheckPendingRequests(): void
  }
  connect(): Promise<unknown>
  isConnected(): boolean
  setVersions(versions: object): void
  setSupportAuthenticationProtocol(supported: boolean): void
  authenticate(): Promise<void>
  /** Milliseconds, 0 if a login is for ever. */
  readonly sessionLifetime: { toString(): string }
  /** So many milliseconds before that. */
  reauthenticationThreshold: number
  send(exchange: {
    request: Request
    response: { decode: (bytes: Buffer) => Promise<unknown>; parse: (answer: unknown) => Promise<unknown> }
    logResponseError: boolean
  }): Promise<unknown>
  rejectRequests(error: Error): void
  disconnect(): Promise<unknown>
}

export interface ConnectionOptions {
  readonly host: string
  readonly port: number
  readonly clientId: string
  readonly requestTimeout: number
  readonly connectionTimeout: number
  readonly socketFactory: (options: { host: string; port: number; onConnect: () => void }) => Socket
  readonly sasl: object | null
  readonly logger: object
}

export const Connection: new (options: ConnectionOptions) => Connection = load('kafkajs/src/network/connection')
export const Encoder: new (bytes?: number) => Encoder = load('kafkajs/src/protocol/encoder')
export const Decoder: new (bytes: Buffer) => Decoder = load('kafkajs/src/protocol/decoder')
export const crc32c: (bytes: Buffer) => number = load('kafkajs/src/protocol/recordBatch/crc32C')
export const { requests }: { readonly requests: Readonly<Record<string, Definition>> } = load(
  'kafkajs/src/protocol/requests',
)
export const apiKeys: Readonly<Record<string, number>> = load('kafkajs/src/protocol/requests/apiKeys')
