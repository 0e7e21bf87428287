export interface ServerEvent {
  readonly id: string
  readonly event: string
  readonly data: string
}

/** A client of server-sent events as HTML 9.2.6 has it, comments kept: it stops reading only when told to. */
export class EventStream {
  readonly response: Response
  readonly events: ServerEvent[] = []
  readonly comments: string[] = []
  lastEventId = ''
  retry: number | undefined
  /** Resolves when the server has closed the stream. */
  readonly ended: Promise<void>
  readonly #abort: AbortController
  #changed = Promise.withResolvers<void>()
  #isEnded = false
  #data: string[] = []
  #event = ''

  private constructor(response: Response, abort: AbortController, reading: Promise<void>) {
    this.response = response
    this.#abort = abort
    this.ended = reading.then(() => this.#read())
  }

  /** Takes nothing from its socket before `reading` resolves. */
  static async open(
    url: string,
    token: string,
    headers: Record<string, string> = {},
    reading = Promise.resolve(),
  ): Promise<EventStream> {
    const abort = new AbortController()
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      signal: abort.signal,
    })
    return new EventStream(response, abort, reading)
  }

  get alertIds(): string[] {
    return this.of('alert').map(({ data }) => JSON.parse(data).alert_id)
  }

  of(name: string): ServerEvent[] {
    return this.events.filter(({ event }) => event === name)
  }

  /** Waits until it holds. Rejects if the stream ends before. */
  async until(holds: (stream: EventStream) => boolean): Promise<this> {
    while (!holds(this)) {
      if (this.#isEnded) throw new Error(`the stream ended with ${JSON.stringify(this.events.at(-1))}`)
      await this.#changed.promise
    }
    return this
  }

  close(): void {
    this.#abort.abort()
  }

  async #read(): Promise<void> {
    try {
      let rest = ''
      for await (const text of (this.response.body as ReadableStream).pipeThrough(new TextDecoderStream())) {
        const lines = (rest + text).split(/\r\n|\n|\r/)
        rest = lines.pop() ?? ''
        for (const line of lines) this.#line(line)
        this.#change()
      }
    } catch (error) {
      if ((error as Error).name !== 'AbortError' && !/terminated/.test(String(error))) throw error
    } finally {
      this.#isEnded = true
      this.#change()
    }
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #line(line: string): void {
    if (line === '') {
      this.#dispatch()
      return
    }
    if (line.startsWith(':')) {
      this.comments.push(line)
      return
    }
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#event = value
    else if (field === 'id') this.lastEventId = value
    else if (field === 'retry') this.retry = Number(value)
  }

  #dispatch(): void {
    if (this.#data.length > 0)
      this.events.push({ id: this.lastEventId, event: this.#event || 'message', data: this.#data.join('\n') })
    this.#data = []
    this.#event = ''
  }
}
