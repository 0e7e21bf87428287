import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { InterventionCommand } from '@weft/schema'
import { WeftError } from '@weft/transport'
import { expect, test } from 'vitest'
import { toLog, toWebhook } from '../src/index.ts'

const command: InterventionCommand = {
  cmd_id: 'c1',
  store_id: 'aurora',
  user_id: 'u1',
  session_id: null,
  type: 'email',
  payload: '{"rule":"lost"}',
  issued_at: 1,
  origin: 'rule_engine',
  source_event_id: null,
}

/** A server that answers each request with the next status, or not at all; the last one stays. */
async function answering(...statuses: (number | 'silence')[]) {
  const requests: { headers: IncomingMessage['headers']; body: unknown }[] = []
  const server = createServer(async (request, response) => {
    requests.push({ headers: request.headers, body: JSON.parse(await text(request)) })
    const status = statuses.length > 1 ? statuses.shift() : statuses[0]
    if (typeof status === 'number') response.writeHead(status, { location: '/elsewhere' }).end('thanks')
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

const context = () => ({ attempt: 1, signal: new AbortController().signal })

test('a webhook gets the command as JSON, with its id to know it by', async () => {
  await using server = await answering(204)
  await toWebhook(server.url, { headers: { authorization: 'Bearer x' } })(command, context())
  expect(server.requests).toMatchObject([
    {
      headers: { 'content-type': 'application/json', 'idempotency-key': 'c1', authorization: 'Bearer x' },
      body: { cmd_id: 'c1', type: 'email', payload: { rule: 'lost' } },
    },
  ])
})

test.each([
  [500, true],
  [503, true],
  [429, true],
  [408, true],
  [400, false],
  [404, false],
  [410, false],
])('of status %i it is %s that a retry can help', async (status, retryable) => {
  await using server = await answering(status)
  const failure = await toWebhook(server.url)(command, context()).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(WeftError)
  expect(failure).toMatchObject({ retryable, message: expect.stringContaining(String(status)) })
})

test('a webhook that redirects, is silent or is not there can be tried again', async () => {
  await using moved = await answering(302)
  await expect(toWebhook(moved.url)(command, context())).rejects.toMatchObject({ retryable: true })
  await using silent = await answering('silence')
  await expect(toWebhook(silent.url, { timeoutMs: 50 })(command, context())).rejects.toMatchObject({ retryable: true })
  const { url } = silent
  await silent[Symbol.asyncDispose]()
  await expect(toWebhook(url)(command, context())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})

test('a delivery that is being stopped ends at once', async () => {
  await using server = await answering('silence')
  const stop = new AbortController()
  const delivery = toWebhook(server.url)(command, { attempt: 1, signal: stop.signal })
  stop.abort()
  await expect(delivery).rejects.toMatchObject({ retryable: true })
})

test('the log tells of a delivery without its payload', async () => {
  const lines: object[] = []
  await toLog({ info: details => lines.push(details) })(command, context())
  expect(lines).toEqual([{ command: 'c1', tenant: 'aurora', type: 'email' }])
})
