import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { Command, CommandName, CommandOf } from './commands.ts'
import { encodeCommand, FrameReader } from './frame.ts'
import { PulsarError } from './pulsar-error.ts'
import type { RequestName, Requests } from './requests.ts'

/** The protocol version of Pulsar 4.0; a broker answers with the lower of this and its own. */
const PROTOCOL_VERSION = 21

/** Of a message, unless the broker says otherwise. */
export const MAX_MESSAGE_BYTES = 5 * 1024 * 1024

/** Who connects, asked anew at each connection and whenever the broker wants to know again: tokens expire. */
export interface Authentication {
  /** token, tls, … as the broker calls it. */
  readonly method: string
  data(): Promise<Uint8Array> | Uint8Array
}

export interface ConnectOptions {
  readonly host: string
  readonly port: number
  /** Undefined: no TLS. Asked anew for each connection: certificates are renewed. */
  readonly tls?: (() => ConnectionOptions) | undefined
  readonly authentication?: Authentication | undefined
  /** The broker behind the proxy that is connected to. */
  readonly proxyTo?: string | undefined
  readonly clientVersion: string
  /** Milliseconds for connecting, and for each answer. */
  readonly timeoutMs: number
  /** So long without a byte from the broker it is asked for one; twice as long, and the connection is given up. */
  readonly keepAliveMs: number
}

interface Waiting {
  readonly doing: string
  resolve(body: unknown): void
  reject(error: Error): void
  timer: NodeJS.Timeout | undefined
}

/** What a producer or consumer hears from its connection. `lost`: the connection is gone, or the broker closed this one. */
export interface Listener {
  command(command: Command, rest: Buffer): void
  lost(error: PulsarError): void
}

/** One connection to one broker: frames, requests and their answers, keep-alive. Nothing here is tried again. */
export class Connection {
  readonly address: string
  serverVersion = ''
  maxMessageBytes = MAX_MESSAGE_BYTES
  readonly #socket: Socket
  readonly #options: ConnectOptions
  readonly #frames = new FrameReader()
  readonly #waiting = new Map<number, Waiting>()
  readonly #producers = new Map<number, Listener>()
  readonly #consumers = new Map<number, Listener>()
  readonly #connected = Promise.withResolvers<void>()
  readonly #gone = Promise.withResolvers<PulsarError>()
  #keepAlive: NodeJS.Timeout | undefined
  #heardAt = performance.now()
  #requests = 0
  #error: PulsarError | undefined
  #corked = false

  /** Resolves when the broker has accepted. Throws PulsarError: ConnectionLost, TimedOut, AuthenticationError. */
  static async open(options: ConnectOptions): Promise<Connection> {
    const connection = new Connection(options)
    const timer = setTimeout(
      () =>
        connection.#fail(
          new PulsarError('TimedOut', `${connection.address} does not answer within ${options.timeoutMs} ms`),
        ),
      options.timeoutMs,
    )
    try {
      await connection.#connected.promise
      return connection
    } finally {
      clearTimeout(timer)
    }
  }

  private constructor(options: ConnectOptions) {
    const { host, port, tls } = options
    this.#options = options
    this.address = `${host}:${port}`
    this.#connected.promise.catch(() => {})
    this.#socket = tls
      ? connectTls({ host, port, ...(isIP(host) ? {} : { servername: host }), ...tls() })
      : connectTcp({ host, port })
    this.#socket
      .setNoDelay(true)
      .on(tls ? 'secureConnect' : 'connect', () => void this.#introduce())
      .on('data', piece => this.#hear(piece))
      .on('error', cause =>
        this.#fail(new PulsarError('ConnectionLost', `${this.address}: ${cause.message}`, { cause })),
      )
      .on('close', () => this.#fail(new PulsarError('ConnectionLost', `${this.address} closed the connection`)))
  }

  /** Settles when the connection is gone, with why. */
  get gone(): Promise<PulsarError> {
    return this.#gone.promise
  }

  get isOpen(): boolean {
    return this.#error === undefined
  }

  async #introduce(): Promise<void> {
    const { authentication, clientVersion, proxyTo } = this.#options
    try {
      this.send('connect', {
        clientVersion,
        authMethod: authentication?.method,
        authData: await authentication?.data(),
        protocolVersion: PROTOCOL_VERSION,
        proxyToBrokerUrl: proxyTo,
        flags: { authRefresh: true, brokerEntryMetadata: true },
      })
    } catch (cause) {
      this.#fail(
        new PulsarError('AuthenticationError', `no credentials for ${this.address}: ${String(cause)}`, { cause }),
      )
    }
  }

  #hear(piece: Buffer): void {
    this.#heardAt = performance.now()
    try {
      for (const { command, rest } of this.#frames.push(piece)) if (command) this.#take(command, rest)
    } catch (cause) {
      this.#fail(new PulsarError('Malformed', `${this.address} sent ${(cause as Error).message}`, { cause }))
    }
  }

  #take(command: Command, rest: Buffer): void {
    switch (command.name) {
      case 'message':
      case 'activeConsumerChange':
      case 'reachedEndOfTopic':
        this.#consumers.get(command.body.consumerId)?.command(command, rest)
        break
      case 'sendReceipt':
      case 'sendError':
        this.#producers.get(command.body.producerId)?.command(command, rest)
        break
      case 'closeProducer':
        this.#drop(this.#producers, command.body.producerId)
        break
      case 'closeConsumer':
        this.#drop(this.#consumers, command.body.consumerId)
        break
      case 'topicMigrated':
        this.#drop(command.body.resource === 0 ? this.#producers : this.#consumers, command.body.resourceId)
        break
      case 'ping':
        this.send('pong', {})
        break
      case 'pong':
        break
      case 'connected':
        this.#welcome(command.body)
        break
      case 'authChallenge':
        void this.#answerChallenge()
        break
      case 'error':
        this.#refused(command.body)
        break
      case 'producerSuccess':
        // Not ready: it waits for its turn to be the only one, and a further answer will come, whenever that is.
        if (command.body.ready === false) clearTimeout(this.#waiting.get(command.body.requestId)?.timer)
        else this.#settled(command.body.requestId)?.resolve(command.body)
        break
      default:
        if ('requestId' in command.body) this.#settled(command.body.requestId)?.resolve(command.body)
    }
  }

  #welcome({ serverVersion, maxMessageSize }: CommandOf<'connected'>): void {
    this.serverVersion = serverVersion
    if (maxMessageSize) this.maxMessageBytes = maxMessageSize
    this.#frames.maxMessageBytes = this.maxMessageBytes
    this.#watch()
    this.#connected.resolve()
  }

  #refused({ requestId, error, message }: CommandOf<'error'>): void {
    const waiting = this.#settled(requestId)
    if (waiting) waiting.reject(PulsarError.of(error, message, waiting.doing))
    // Without a request it is about the connection, which the broker closes now.
    else if (!this.serverVersion) this.#fail(PulsarError.of(error, message, `connecting to ${this.address}`))
  }

  #drop(from: Map<number, Listener>, id: number): void {
    const listener = from.get(id)
    from.delete(id)
    listener?.lost(new PulsarError('ConnectionLost', `${this.address} closed it: the topic moves, or was unloaded`))
  }

  #settled(id: number | undefined): Waiting | undefined {
    if (id === undefined) return undefined
    const waiting = this.#waiting.get(id)
    clearTimeout(waiting?.timer)
    this.#waiting.delete(id)
    return waiting
  }

  async #answerChallenge(): Promise<void> {
    const { authentication, clientVersion } = this.#options
    try {
      const data = await authentication?.data()
      this.send('authResponse', {
        clientVersion,
        response: { method: authentication?.method, data },
        protocolVersion: PROTOCOL_VERSION,
      })
    } catch (cause) {
      this.#fail(
        new PulsarError('AuthenticationError', `no new credentials for ${this.address}: ${String(cause)}`, { cause }),
      )
    }
  }

  #watch(): void {
    const { keepAliveMs } = this.#options
    this.#keepAlive = setInterval(() => {
      const silent = performance.now() - this.#heardAt
      if (silent > 2 * keepAliveMs)
        this.#fail(new PulsarError('ConnectionLost', `${this.address} was silent for ${Math.round(silent)} ms`))
      else if (silent > keepAliveMs) this.send('ping', {})
    }, keepAliveMs / 2).unref()
  }

  attachProducer(id: number, listener: Listener): void {
    this.#producers.set(id, listener)
  }

  attachConsumer(id: number, listener: Listener): void {
    this.#consumers.set(id, listener)
  }

  detachProducer(id: number): void {
    this.#producers.delete(id)
  }

  detachConsumer(id: number): void {
    this.#consumers.delete(id)
  }

  /** What has no answer, or one that comes by another way. Lost silently if the connection is: `gone` tells. */
  send<N extends CommandName>(name: N, body: CommandOf<N>): void {
    this.write(encodeCommand(name, body))
  }

  /** A frame, perhaps in pieces. What is written in one turn of the event loop goes out together. */
  write(...pieces: readonly Uint8Array[]): void {
    if (this.#error) return
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      queueMicrotask(() => setImmediate(() => this.#uncork()))
    }
    for (const piece of pieces) this.#socket.write(piece)
  }

  #uncork(): void {
    this.#corked = false
    this.#socket.uncork()
  }

  /** Bytes that the operating system has not taken yet. */
  get backlog(): number {
    return this.#socket.writableLength
  }

  /** Throws PulsarError: what the broker answered, TimedOut, or ConnectionLost; then nobody knows whether it was done. */
  request<N extends RequestName>(
    name: N,
    body: Omit<CommandOf<N>, 'requestId'>,
    { doing = name as string, timeoutMs = this.#options.timeoutMs } = {},
  ): Promise<CommandOf<Requests[N]>> {
    if (this.#error) return Promise.reject(this.#error)
    const requestId = ++this.#requests
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(requestId)
        reject(new PulsarError('TimedOut', `${doing}: no answer of ${this.address} within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#waiting.set(requestId, { doing, resolve: resolve as (body: unknown) => void, reject, timer })
      this.send(name, { ...body, requestId } as unknown as CommandOf<N>)
    })
  }

  #fail(error: PulsarError): void {
    if (this.#error) return
    this.#error = error
    clearInterval(this.#keepAlive)
    this.#socket.destroy()
    this.#connected.reject(error)
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer)
      waiting.reject(error)
    }
    this.#waiting.clear()
    for (const listener of [...this.#producers.values(), ...this.#consumers.values()]) listener.lost(error)
    this.#producers.clear()
    this.#consumers.clear()
    this.#gone.resolve(error)
  }

  /** Gives it up: the broker does not keep to the protocol, or asks to begin anew. Whoever is attached connects again. */
  abandon(why: string): void {
    this.#fail(new PulsarError('ConnectionLost', `${this.address}: ${why}`))
  }

  /** What is under way is rejected. */
  close(): void {
    this.#fail(new PulsarError('Closed', 'the client was closed'))
  }
}
