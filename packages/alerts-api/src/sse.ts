import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Admission, Query } from './admission.ts'
import type { Channels } from './channel.ts'
import { parseFilter } from './filter.ts'
import type { Listeners } from './listeners.ts'
import { filterParameters, startParameters, streamAnswers } from './openapi.ts'
import { Refusal } from './refusal.ts'
import type { Starts } from './starts.ts'
import { WIRES } from './wire.ts'

const STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  // nginx would collect what should be seen at once.
  'x-accel-buffering': 'no',
  connection: 'close',
}

/** Takes the answer over from Fastify and sends its head. */
export function openStream(reply: FastifyReply): void {
  reply.headers(STREAM_HEADERS).hijack()
  reply.raw.writeHead(200, reply.getHeaders() as OutgoingHttpHeaders).flushHeaders()
}

/** `GET /v1/alerts/stream`: alerts as server-sent events. */
export function alertStream(
  app: FastifyInstance,
  about: { admission: Admission; starts: Starts; channels: Channels; listeners: Listeners; retryMs: number },
): void {
  const { admission, starts, channels, listeners, retryMs } = about
  const greeting = Buffer.from(`retry: ${retryMs}\n\n`)
  const schema = {
    operationId: 'streamAlerts',
    tags: ['alerts'],
    summary: 'Alerts as they come, as server-sent events',
    description:
      'Events: `alert` (data: the alert), `cursor` (only its id counts: the place to resume from moved on though no ' +
      'alert fitted), `reset` (data: `{reason, from, to}`: alerts between two cursors are not given), `end` (data: ' +
      '`{reason, cursor}`: the server closes; come back after `retry`). The id of each is the cursor after it.',
    querystring: { type: 'object', properties: { ...startParameters('latest'), ...filterParameters } },
    headers: {
      type: 'object',
      properties: { 'last-event-id': { type: 'string', description: 'A cursor; wins over the query.' } },
    },
    response: streamAnswers,
  }
  app.get('/v1/alerts/stream', { schema, exposeHeadRoute: false }, async (request, reply) => {
    const query = request.query as Query
    const identity = await admission.identify(request.headers.authorization, query)
    const filter = parseFilter(query, admission.tenant(identity, query))
    const lastEventId = request.headers['last-event-id']
    const start = await starts.of(query, typeof lastEventId === 'string' ? lastEventId : undefined, 'latest')
    // Pipelined behind a request that is still being answered, it would write into that one's answer.
    if (reply.raw.socket !== request.raw.socket)
      throw new Refusal('invalid_request', 'a stream needs a connection of its own: do not pipeline')
    admission.take(identity.tenant)
    openStream(reply)
    listeners.add({
      socket: request.raw.socket,
      wire: request.raw.httpVersion === '1.0' ? WIRES.plain : WIRES.chunked,
      channel: channels.hold(filter),
      account: identity.tenant,
      expiresAt: identity.expiresAt ?? Number.POSITIVE_INFINITY,
      start,
      greeting,
    })
  })
}
