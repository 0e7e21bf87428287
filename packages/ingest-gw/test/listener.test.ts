import { readFile } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { type RequestOptions, request } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Health, registry } from '@weft/telemetry'
import { describe, expect, test } from 'vitest'
import { startGateway } from '../src/index.ts'
import { auth, catalogue, logged, pageView, send, world } from './fixture.ts'
import { gate } from './gate.ts'

const headers = { authorization: 'Bearer wk_aurora_test', 'content-type': 'application/json' }

function overHttp2(
  url: string,
  ca: string | undefined,
  body: string,
): Promise<{ status: unknown; body: string; end: () => void }> {
  const session = connectHttp2(url, { ca })
  const stream = session.request({ ':method': 'POST', ':path': '/v1/events', ...headers })
  stream.end(body)
  return new Promise((resolve, reject) => {
    let status: unknown
    let text = ''
    stream.on('response', answer => {
      status = answer[':status']
    })
    stream.on('data', chunk => (text += chunk))
    stream.on('end', () => resolve({ status, body: text, end: () => session.close() }))
    stream.on('error', reject)
    session.on('error', reject)
  })
}

function overHttps(url: string, options: RequestOptions, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/events`, { method: 'POST', headers, ...options }, answer => {
      answer.resume()
      answer.on('end', () => resolve(`${answer.httpVersion} ${answer.statusCode}`))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

describe('HTTPS', () => {
  test('speaks HTTP/2 and HTTP/1.1 with a certificate that was made for development and is kept', async () => {
    await using it = await world({ https: { port: 0 }, http: false })
    const { https = '', certificate } = it.gateway
    const answer = await overHttp2(https, certificate, JSON.stringify(pageView({ event_id: 'h2' })))
    answer.end()
    expect([answer.status, JSON.parse(answer.body)]).toEqual([202, { event_id: 'h2', status: 'accepted' }])
    expect(await overHttps(https, { ca: certificate }, JSON.stringify(pageView()))).toBe('1.1 202')
    await expect(overHttps(https, {}, '')).rejects.toThrow(/self-signed|self signed/)
    const file = join(it.directory, 'gateway', 'certificate', 'localhost.pem')
    const kept = await readFile(file, 'utf8')
    const again = await startGateway({
      ...it,
      catalogue,
      auth,
      directory: join(it.directory, 'gateway'),
      https: { port: 0 },
      http: false,
    })
    expect(again.certificate).toBe(certificate)
    expect(certificate).not.toContain('PRIVATE')
    await again[Symbol.asyncDispose]()
    expect(await readFile(file, 'utf8')).toBe(kept)
  })

  test('takes a certificate of its own', async () => {
    await using other = await world({ https: { port: 0 } })
    const pem = await readFile(join(other.directory, 'gateway', 'certificate', 'localhost.pem'))
    await using it = await world({ https: { port: 0, certificate: { key: pem, cert: pem } }, http: false })
    expect(it.gateway.certificate).toBe(other.gateway.certificate)
    expect(await overHttps(it.gateway.https ?? '', { ca: it.gateway.certificate }, JSON.stringify(pageView()))).toBe(
      '1.1 202',
    )
  })
})

describe('an address', () => {
  test('off loopback is refused for plain HTTP unless it is allowed', async () => {
    await expect(world({ http: { host: '0.0.0.0', port: 0 } })).rejects.toThrow(
      /plain HTTP on 0.0.0.0 would send write keys/,
    )
    await using it = await world({ http: { host: '0.0.0.0', port: 0 }, allowInsecureHttp: true })
    expect(it.gateway.http).toMatch(/^http:\/\/localhost:\d+$/)
  })

  test('that is in use is told in one sentence, and nothing of the gateway is left running', async () => {
    await using it = await world()
    const port = Number(new URL(it.url).port)
    await expect(world({ http: { port } })).rejects.toThrow(`the gateway's address 127.0.0.1:${port} is in use`)
  })
})

describe('a gateway that is closed', () => {
  test('answers what is in flight, takes nothing new, and is gone', async () => {
    const held = gate()
    const it = await world({}, held.wrap)
    held.close()
    const inFlight = send(it.url, pageView({ event_id: 'last' }))
    await held.arrived()
    const closing = it.gateway[Symbol.asyncDispose]()
    await expect
      .poll(() =>
        fetch(it.url).then(
          () => 'taken',
          () => 'refused',
        ),
      )
      .toBe('refused')
    held.open()
    expect(await inFlight).toMatchObject({ status: 202, body: { event_id: 'last' } })
    await closing
    expect(await logged(it.transport)).toHaveLength(1)
    await it[Symbol.asyncDispose]()
  })

  test('ends open HTTP/2 sessions', async () => {
    const it = await world({ https: { port: 0 }, http: false })
    const answer = await overHttp2(it.gateway.https ?? '', it.gateway.certificate, JSON.stringify(pageView()))
    expect(answer.status).toBe(202)
    await it[Symbol.asyncDispose]()
  })
})

describe('from outside one sees', () => {
  test('the OpenAPI document, and a reference that loads nothing from elsewhere', async () => {
    await using it = await world()
    const document = await fetch(new URL('/openapi.json', it.url))
    expect(await document.json()).toMatchObject({ openapi: '3.1.0', paths: { '/v1/events': { post: {} } } })
    const page = await fetch(new URL('/docs/', it.url))
    const html = await page.text()
    const sources = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, source = '']) => new URL(source, page.url))
    expect(sources.length).toBeGreaterThan(3)
    for (const source of sources) {
      expect(source.origin).toBe(new URL(it.url).origin)
      const asset = await fetch(source)
      expect([source.pathname, asset.status]).toEqual([source.pathname, 200])
      await asset.arrayBuffer()
    }
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'self'/)
  })

  test('metrics and health, with no event id nor payload in them', async () => {
    await using it = await world({ health: new Health() })
    const count = async () => {
      const metric = await registry.getSingleMetric('weft_ingest_events_total')?.get()
      return Object.fromEntries(
        metric?.values.map(({ labels, value }) => [`${labels.tenant} ${labels.outcome}`, value]) ?? [],
      )
    }
    const before = await count()
    const event = pageView({ event_id: 'counted' })
    await send(it.url, [event, event, { type: 'no' }])
    const after = await count()
    for (const outcome of ['aurora accepted', 'aurora duplicate', 'aurora rejected'])
      expect((after[outcome] ?? 0) - (before[outcome] ?? 0)).toBe(1)
    const text = await (await fetch(new URL('/metrics', it.url))).text()
    for (const name of [
      'events_total',
      'problems_total',
      'request_seconds',
      'bytes_in_flight',
      'append_seconds',
      'append_events',
    ])
      expect(text).toContain(`weft_ingest_${name}`)
    expect(text).not.toContain('counted')
    expect((await fetch(new URL('/healthz', it.url))).status).toBe(200)
    expect((await fetch(new URL('/readyz', it.url))).status).toBe(200)
  })

  test('a page of any origin may send, or only those that are named', async () => {
    const preflight = (url: string, origin: string) =>
      fetch(url, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      })
    await using open = await world()
    const any = await preflight(open.url, 'https://shop.example')
    expect([any.status, any.headers.get('access-control-allow-origin')]).toEqual([204, '*'])
    const sent = await send(open.url, pageView(), { origin: 'https://shop.example' })
    expect(sent.headers.get('access-control-expose-headers')).toContain('retry-after')
    await using strict = await world({ cors: { origin: ['https://shop.example'] } })
    expect((await preflight(strict.url, 'https://shop.example')).headers.get('access-control-allow-origin')).toBe(
      'https://shop.example',
    )
    expect((await preflight(strict.url, 'https://evil.example')).headers.get('access-control-allow-origin')).toBeNull()
    await using none = await world({ cors: false })
    expect((await preflight(none.url, 'https://shop.example')).status).toBe(405)
  })

  test('bytes that are no HTTP, and headers without end, answered in the same form', async () => {
    await using it = await world()
    const { port } = new URL(it.url)
    const raw = (text: string) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(Number(port), '127.0.0.1', () => socket.write(text))
        let answer = ''
        socket.on('data', chunk => (answer += chunk))
        socket.on('close', () => resolve(answer))
        socket.on('error', reject)
      })
    expect(await raw('NOT HTTP AT ALL\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [\s\S]+"code":"invalid_request"/)
    expect(await raw(`GET / HTTP/1.1\r\nx: ${'x'.repeat(40_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 [\s\S]+"code":"headers_too_large"/,
    )
  })
})
