import type { FastifyInstance } from 'fastify'
import { Refusal } from './refusal.ts'

const LOOPBACK_PEER = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/
const LOOPBACK_HOST = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/

/**
 * `GET /dev-token` hands a token to the dashboard, in development only: to who is on this machine and asks it by a
 * loopback name, so that no page of another site gets one by a name that it made point here.
 */
export function devTokens(app: FastifyInstance, token: () => Promise<string> | string): void {
  app.get('/dev-token', { schema: { hide: true } }, async (request, reply) => {
    const { host = '', 'sec-fetch-site': site = 'none' } = request.headers
    const isOwn = site === 'none' || site === 'same-origin'
    if (!isOwn || !LOOPBACK_HOST.test(host) || !LOOPBACK_PEER.test(request.socket.remoteAddress ?? ''))
      throw new Refusal('not_found', 'there is nothing at this path')
    return reply
      .header('cache-control', 'no-store')
      .removeHeader('access-control-allow-origin')
      .send({ token: await token() })
  })
}
