import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import { EventStream } from './event-stream.ts'
import { eventually, serving, some, tokenFor } from './serving.ts'

interface Said {
  readonly type: string
  readonly cursor: string
  readonly reason?: string
  readonly alert?: { readonly alert_id: string }
}

class Listener {
  readonly socket: WebSocket
  readonly said: Said[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  pings = 0

  constructor(url: string, protocols: string[] = [], options: ClientOptions = {}) {
    this.socket = new WebSocket(url.replace('http', 'ws'), protocols, options)
    this.socket.on('message', data => this.said.push(JSON.parse(String(data)))).on('ping', () => this.pings++)
    this.closed = new Promise(resolve =>
      this.socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })),
    )
  }

  get alertIds(): (string | undefined)[] {
    return this.said.filter(({ type }) => type === 'alert').map(({ alert }) => alert?.alert_id)
  }

  async until(holds: (listener: Listener) => boolean): Promise<this> {
    while (!holds(this)) await once(this.socket, 'message')
    return this
  }
}

/** Of a handshake that the server refuses. */
async function refusalOf(url: string, options: ClientOptions = {}) {
  const socket = new WebSocket(url.replace('http', 'ws'), options)
  const [, response] = await once(socket, 'unexpected-response')
  let body = ''
  for await (const chunk of response) body += chunk
  return { status: response.statusCode, retryAfter: response.headers['retry-after'], ...JSON.parse(body) }
}

const socketOf = ({ url }: { url: string }, query: string) => `${url}/v1/alerts/ws?${query}`

test('alerts come as messages, whichever way the token is given', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const token = await tokenFor('aurora')
  const listeners = [
    new Listener(socketOf(api, `access_token=${token}&severity=warning`)),
    new Listener(socketOf(api, ''), ['weft.alerts.v1', `bearer.${token}`]),
    new Listener(socketOf(api, 'severity=warning'), [], { headers: { authorization: `Bearer ${token}` } }),
  ]
  for (const listener of listeners) await listener.until(({ said }) => said.length === 1)
  expect(listeners[1]?.socket.protocol).toBe('weft.alerts.v1')
  const ids = await raise(...some(20, { user_id: 'u', message: 'ä'.repeat(100) }), {
    severity: 'warning',
    message: 'x'.repeat(70_000),
    user_id: 'u',
  })
  for (const listener of listeners) {
    await listener.until(({ alertIds }) => alertIds.length === 21)
    expect(listener.alertIds).toEqual(ids)
    listener.socket.close()
  }
})

test('a cursor of one protocol is good for each of the others', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const token = await tokenFor('aurora')
  const ids = await raise(...some(12))
  const authorization = `Bearer ${token}`
  const page = async (cursor: string) => {
    const response = await fetch(`${api.url}/v1/alerts?limit=4&cursor=${cursor}`, { headers: { authorization } })
    return (await response.json()) as { alerts: { alert_id: string }[]; cursor: string }
  }
  const stream = await EventStream.open(`${api.url}/v1/alerts/stream?from=earliest`, token)
  await stream.until(({ alertIds }) => alertIds.length === 12)
  stream.close()
  const first = stream.of('alert').slice(0, 4)
  const second = await page(first.at(-1)?.id ?? '')
  const listener = new Listener(socketOf(api, `access_token=${token}&cursor=${second.cursor}`))
  await listener.until(({ alertIds }) => alertIds.length === 4)
  const last = await page(listener.said.at(-2)?.cursor ?? '')
  const seen = [...first.map(({ data }) => JSON.parse(data)), ...second.alerts].map(({ alert_id }) => alert_id)
  expect([...seen, ...listener.alertIds].toSorted()).toEqual(ids.toSorted())
  expect(last.alerts.map(({ alert_id }) => alert_id)).toEqual(listener.alertIds.slice(-1))
  listener.socket.close()
})

test('a client that says anything but ping is closed with the reason', async () => {
  const { start } = await serving()
  const api = await start()
  const address = socketOf(api, `access_token=${await tokenFor('aurora')}`)
  const open = async () => new Listener(address).until(({ said }) => said.length > 0)
  const polite = await open()
  polite.socket.send('{"type":"ping"}')
  await polite.until(({ said }) => said.at(-1)?.type === 'pong')
  polite.socket.close()
  for (const [message, code] of [
    ['garbage', 1008],
    ['{"type":"subscribe"}', 1008],
    ['null', 1008],
    [Buffer.from('{"type":"ping"}'), 1008],
    ['x'.repeat(5_000), 1009],
  ] as const) {
    const rude = await open()
    rude.socket.send(message)
    expect(await rude.closed).toMatchObject({ code })
  }
})

test('bytes that are no WebSocket frames end that connection and nothing else', async () => {
  const { start, raise } = await serving()
  const api = await start()
  const token = await tokenFor('aurora')
  const fine = await new Listener(socketOf(api, `access_token=${token}`)).until(({ said }) => said.length > 0)
  const raw = connect(Number(new URL(api.url).port), '127.0.0.1')
  raw.write(
    `GET /v1/alerts/ws?access_token=${token} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  )
  await once(raw, 'data')
  raw.write(Buffer.alloc(1_000, 0xff))
  raw.resume()
  await once(raw, 'close')
  const [id] = await raise({})
  await fine.until(({ alertIds }) => alertIds.includes(id))
  fine.socket.close()
})

test('a handshake is refused with a status and a reason', async () => {
  const { start } = await serving()
  const api = await start({ connectionsPerTenant: 1, corsOrigins: ['https://shop.example'] })
  const token = await tokenFor('aurora')
  const address = socketOf(api, `access_token=${token}`)
  expect(await refusalOf(socketOf(api, ''))).toMatchObject({ status: 401, code: 'credential_missing' })
  expect(await refusalOf(`${address}&cursor=1`)).toMatchObject({ status: 400, code: 'invalid_cursor' })
  expect(await refusalOf(`${address}&tenant=birch`)).toMatchObject({ status: 403, code: 'tenant_foreign' })
  expect(await refusalOf(`${api.url}/v1/elsewhere`)).toMatchObject({ status: 404, code: 'not_found' })
  expect(await refusalOf(address, { origin: 'https://else.example' })).toMatchObject({
    status: 403,
    code: 'origin_foreign',
  })
  const allowed = await new Listener(address, [], { origin: 'https://shop.example' }).until(
    ({ said }) => said.length > 0,
  )
  expect(await refusalOf(address)).toMatchObject({ status: 429, retryAfter: expect.stringMatching(/^\d+$/) })
  allowed.socket.close()
  await allowed.closed
  const own = await new Listener(address, [], { origin: api.url }).until(({ said }) => said.length > 0)
  own.socket.close()
  expect((await fetch(address)).status).toBe(426)
})

test('a WebSocket ends when its token expires', async () => {
  const { start } = await serving()
  const api = await start({ heartbeatMs: 100 })
  const listener = new Listener(socketOf(api, `access_token=${await tokenFor('aurora', { expiresIn: 2 })}`))
  expect(await listener.closed).toEqual({ code: 4401, reason: 'token_expired' })
  expect(listener.said.at(-1)).toMatchObject({ type: 'end', reason: 'token_expired', cursor: listener.said[0]?.cursor })
})

test('one that answers no ping is cut off, one that does stays', async () => {
  const { start } = await serving()
  const api = await start({ heartbeatMs: 50 })
  const address = socketOf(api, `access_token=${await tokenFor('aurora')}`)
  const silent = new Listener(address, [], { autoPong: false })
  const lively = new Listener(address)
  expect(await silent.closed).toMatchObject({ code: 1006 })
  const { pings } = lively
  await eventually(() => lively.pings).toBeGreaterThan(pings + 3)
  expect(lively.socket.readyState).toBe(WebSocket.OPEN)
  lively.socket.close()
})
