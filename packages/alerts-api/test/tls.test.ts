import { once } from 'node:events'
import { get } from 'node:https'
import { generate } from 'selfsigned'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually, serving, tokenFor } from './serving.ts'

test('with a certificate of its own it speaks HTTPS and WebSocket over TLS', async () => {
  const pems = await generate([{ name: 'commonName', value: 'localhost' }], {
    extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }],
  })
  const { start, raise } = await serving()
  const { url } = await start({ tls: { key: pems.private, cert: pems.cert } })
  expect(url).toMatch(/^https:/)
  const query = `?access_token=${await tokenFor('aurora')}`
  const [response] = await once(get(`${url}/v1/alerts/stream${query}`, { ca: pems.cert }), 'response')
  let events = ''
  response.setEncoding('utf8').on('data', (text: string) => {
    events += text
  })
  const socket = new WebSocket(`${url.replace('https', 'wss')}/v1/alerts/ws${query}`, { ca: pems.cert })
  const said: string[] = []
  socket.on('message', data => said.push(String(data)))
  await eventually(() => said.length).toBe(1)
  const [id] = await raise({})
  await eventually(() => [events, said.join()].every(text => text.includes(`"alert_id":"${id}"`))).toBe(true)
  response.destroy()
  socket.close()
})
