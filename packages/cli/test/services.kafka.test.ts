import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { signToken } from '@weft/auth'
import { open } from '@weft/transport'
import { afterAll, expect, test } from 'vitest'
import { ownBroker } from './exactly-once/broker.ts'
import { SECRET, starter } from './exactly-once/fabric.ts'
import type { Supervised } from './exactly-once/supervised.ts'
import { temporary } from './spawned.ts'

const RULES = 'rules: [{ name: seen, kind: count, events: [page_view], count: 1, within: 1h }]\n'

const server = await ownBroker()
afterAll(() => server[Symbol.asyncDispose]())

/** A client of the alerts' stream, which takes its cursor along from one instance to the other. */
class Client {
  readonly sessions: string[] = []
  readonly resets: string[] = []
  cursor = ''
  readonly #token: string

  constructor(token: string) {
    this.#token = token
  }

  /** Listens at an instance until it has heard of a session, or as long as the instance lives. */
  async listen(api: Supervised, until: string): Promise<void> {
    const stop = new AbortController()
    const response = await fetch(`${api.places?.dashboard}/v1/alerts/stream?from=earliest`, {
      headers: { authorization: `Bearer ${this.#token}`, ...(this.cursor && { 'last-event-id': this.cursor }) },
      signal: stop.signal,
    })
    expect(response.status).toBe(200)
    let rest = ''
    for await (const chunk of (response.body as ReadableStream).pipeThrough(new TextDecoderStream())) {
      const frames = (rest + chunk).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames)
        this.#take(Object.fromEntries(frame.split('\n').map(line => line.split(/: ?(.*)/s, 2))))
      if (this.sessions.includes(until)) break
    }
    stop.abort()
  }

  #take({ event, id, data }: Record<string, string>): void {
    if (event === 'alert') this.sessions.push(JSON.parse(data ?? '').session_id)
    if (event === 'reset') this.resets.push(data ?? '')
    if (id) this.cursor = id
  }
}

async function post(gateway: Supervised, session: string): Promise<void> {
  const response = await fetch(gateway.places?.http ?? '', {
    method: 'POST',
    headers: { authorization: 'Bearer wk_aurora_demo', 'content-type': 'application/json' },
    body: JSON.stringify({ type: 'page_view', session_id: session, payload: { elapsed_ms: 0, page: 'product' } }),
  })
  expect(response.status).toBe(202)
}

if (server.url === undefined) test.skip('services on Kafka, two of each: not run here, see the last lines', () => {})
else {
  const { url } = server

  test('two gateways, two pipelines and two alerts APIs work as one, and a client goes on at the one that is left', {
    timeout: 240_000,
  }, async () => {
    await using folder = await temporary()
    await writeFile(path.join(folder.path, 'weft.yaml'), RULES)
    const service = starter(folder.path, url)
    await using stack = new AsyncDisposableStack()
    const two = (name: string) => [stack.use(service(name)), stack.use(service(name))] as const
    const [gateways, pipelines, apis] = [two('ingest-gw'), two('pipeline'), two('alerts-api')]
    const services = [...gateways, ...pipelines, ...apis]
    await Promise.all(services.map(({ ready }) => ready))
    await using transport = await open(url)
    const members = async () => {
      const lags = (await transport.admin.groups()).filter(({ group }) => group === 'weft.ingest')
      return new Set(lags.map(({ member }) => member)).size
    }
    while ((await members()) < 2) await pause(50)

    const token = await signToken(SECRET, { tenant: 'aurora', scopes: ['alerts:read'], expiresIn: 600 })
    const posted: string[] = []
    const shop = async (count: number) => {
      for (let left = count; left > 0; left--) {
        const session = `s${posted.length}`
        await post(gateways[posted.length % 2] as Supervised, session)
        posted.push(session)
      }
    }
    const [moving, staying] = [new Client(token), new Client(token)]
    // Whichever gateway took it, both instances tell it.
    await shop(2)
    for (const session of ['s0', 's1'])
      await Promise.all([moving.listen(apis[0], session), staying.listen(apis[1], session)])

    // One dies while alerts are raised; what its client has not had comes from the other.
    const cut = moving.listen(apis[0], 'never').catch(error => expect(error).toBeInstanceOf(TypeError))
    await shop(10)
    await apis[0].kill()
    await cut
    await shop(10)
    const last = async (client: Client, api: Supervised) => {
      while (client.sessions.length < posted.length)
        await client.listen(api, posted.find(each => !client.sessions.includes(each)) ?? '')
    }
    await Promise.all([last(moving, apis[1]), last(staying, apis[1])])

    // It comes back, and both go on there with the other's cursors.
    await apis[0].ready
    await shop(10)
    await Promise.all([last(moving, apis[0]), last(staying, apis[0])])
    for (const { sessions, resets } of [moving, staying]) {
      expect(resets).toEqual([])
      expect(sessions.toSorted()).toEqual(posted.toSorted())
    }
    expect(await Promise.all(services.map(each => each.stop()))).toEqual(services.map(() => 0))
    // Nothing that whoever runs it should look at.
    expect(services.flatMap(({ said }) => said.split('\n').filter(line => line.startsWith('{')))).toEqual([])
  })
}
