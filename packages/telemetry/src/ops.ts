import type { FastifyPluginAsync, FastifySchema } from 'fastify'
import type { Health } from './health.ts'
import { registry } from './metrics.ts'

export interface OpsOptions {
  readonly health: Health
}

/** For those who operate it: `/metrics` (Prometheus), `/healthz` (is it alive) and `/readyz` (can it work), 503 when red. */
export const ops: FastifyPluginAsync<OpsOptions> = async (app, { health }) => {
  // `hide` keeps them out of a generated OpenAPI document.
  const quiet = { logLevel: 'silent' as const, schema: { hide: true } as FastifySchema }
  app.get('/metrics', quiet, async (_request, reply) =>
    reply
      .header('content-type', registry.contentType)
      .header('cache-control', 'no-store')
      .send(await registry.metrics()),
  )
  app.get('/healthz', quiet, async (_request, reply) => {
    const report = await health.live()
    return reply
      .code(report.ok ? 200 : 503)
      .header('cache-control', 'no-store')
      .send(report)
  })
  app.get('/readyz', quiet, async (_request, reply) => {
    const report = await health.ready()
    return reply
      .code(report.ok ? 200 : 503)
      .header('cache-control', 'no-store')
      .send(report)
  })
}
