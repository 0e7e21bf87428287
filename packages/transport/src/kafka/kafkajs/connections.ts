import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Address, DriverOptions } from '../driver.ts'
import type { Offered } from '../versions.ts'
import { Connection, requests } from './library.ts'

/** A connection that is ready for requests, and what the broker at its other end speaks. */
export interface Connected {
  readonly connection: Connection
  readonly offered: ReadonlyMap<number, Offered>
  /** What still waits for an answer fails, and the next request makes a new connection. */
  end(): Promise<void>
}

const [TLS_ALERT, TLS_MAJOR_VERSION] = [21, 3]
const silent = { debug() {}, info() {}, warn() {}, error() {}, namespace: () => silent }

/**
 * One connection for a broker, made when it is first needed and again after it ended: the library's own pool keeps
 * what it had read of a connection that broke for the next one.
 */
export class Connections {
  readonly #options: DriverOptions
  readonly #timeoutMs: number
  readonly #kept = new Map<string, Promise<Connected>>()
  /** Those that are being made too. */
  readonly #open = new Set<Connection>()
  #closed = false

  constructor(options: DriverOptions, timeoutMs: number) {
    this.#options = options
    this.#timeoutMs = timeoutMs
  }

  get({ host, port }: Address): Promise<Connected> {
    if (this.#closed) return Promise.reject(new Error('the connections were closed'))
    const name = `${host}:${port}`
    const kept = this.#kept.get(name)
    if (kept) return kept
    const forget = () => {
      if (this.#kept.get(name) === made) this.#kept.delete(name)
    }
    const made = this.#connect({ host, port }, forget)
    this.#kept.set(name, made)
    made.catch(forget)
    return made
  }

  async #connect({ host, port }: Address, ended: () => void): Promise<Connected> {
    const { clientId, tls, sasl } = this.#options
    const patienceMs = Math.min(this.#options.timeoutMs, 5_000)
    const login = sasl?.()
    const secrets = tls?.()
    const connection = new Connection({
      host,
      port,
      clientId,
      requestTimeout: this.#timeoutMs,
      connectionTimeout: patienceMs,
      sasl: login ? { ...login } : null,
      logger: silent,
      socketFactory: ({ host, port, onConnect }) => {
        const socket = secrets
          ? connectTls({ host, port, ...secrets }, onConnect)
          : connectPlain({ host, port }, onConnect)
        if (!secrets) socket.once('data', chunk => refuseTls(socket, chunk))
        // Before the library's own listeners: from here on nobody is to ask on it.
        for (const event of ['end', 'error', 'close']) socket.once(event, ended)
        socket.once('close', () => this.#open.delete(connection))
        return socket.setNoDelay(true)
      },
    })
    this.#open.add(connection)
    withoutIdleTimers(connection)
    // The library bounds requests by the lane's time, which may be long, and some steps of logging in by none.
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`not connected after ${2 * patienceMs} ms`)), 2 * patienceMs)
    try {
      const offered = await Promise.race([late.promise, this.#introduce(connection)])
      return {
        connection,
        offered,
        end: () => {
          ended()
          return end(connection)
        },
      }
    } catch (error) {
      await end(connection)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async #introduce(connection: Connection): Promise<Connected['offered']> {
    await connection.connect()
    const { request, response } = (requests.ApiVersions as (typeof requests)[string]).protocol({ version: 2 })({})
    const parse = async (answer: unknown) => answer
    const answer = (await connection.send({
      request,
      response: { decode: response.decode, parse },
      logResponseError: false,
    })) as { apiVersions: readonly ({ apiKey: number } & Offered)[] }
    connection.setVersions(Object.fromEntries(answer.apiVersions.map(each => [each.apiKey, each])))
    connection.setSupportAuthenticationProtocol(true)
    await connection.authenticate()
    // By default it logs in again 10 s before a session ends, and so with every request if sessions are shorter.
    const sessionMs = Number(connection.sessionLifetime.toString())
    connection.reauthenticationThreshold = Math.min(10_000, sessionMs / 5)
    return new Map(answer.apiVersions.map(each => [each.apiKey, each]))
  }

  /** What still waits for an answer fails. */
  async close(): Promise<void> {
    this.#closed = true
    this.#kept.clear()
    await Promise.all([...this.#open].map(end))
  }
}

/** The library waits for answers before it hangs up, for ever if need be: whoever waits for one is told first. */
async function end(connection: Connection): Promise<void> {
  const ended = new Error('the connection was closed')
  connection.rejectRequests(ended)
  // With an error, which also ends an attempt to connect.
  connection.socket?.destroy(ended)
  await connection.disconnect()
}

/** The library would take the first bytes of a TLS alert for a length, and wait for so many. */
function refuseTls(socket: Socket, chunk: Buffer): void {
  if (chunk[0] === TLS_ALERT && chunk[1] === TLS_MAJOR_VERSION) socket.destroy(new Error('the broker requires TLS'))
}

/** The library sets a timer after each answer, for a time that has passed already if nothing is throttled. */
function withoutIdleTimers({ requestQueue }: Connection): void {
  const schedule = requestQueue.scheduleCheckPendingRequests.bind(requestQueue)
  requestQueue.scheduleCheckPendingRequests = () => {
    if (requestQueue.pending.length > 0 || requestQueue.throttledUntil > Date.now()) schedule()
  }
}
