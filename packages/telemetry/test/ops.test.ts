import { fastify } from 'fastify'
import { expect, test } from 'vitest'
import { Counter, Health, ops, processMetrics, registry } from '../src/index.ts'

async function answers(health: Health, url: string) {
  const app = fastify()
  await app.register(ops, { health })
  const { statusCode, headers, body } = await app.inject({ url })
  await app.close()
  return { statusCode, type: headers['content-type'], body }
}

test('/metrics has the process and what packages count, in the format of Prometheus', async () => {
  processMetrics()
  processMetrics()
  const counter = new Counter({ name: 'weft_ops_test_total', help: 'of this test', labelNames: ['tenant'] })
  counter.inc({ tenant: 'aurora' }, 3)
  const { statusCode, type, body } = await answers(new Health(), '/metrics')
  expect(statusCode).toBe(200)
  expect(type).toContain('text/plain; version=0.0.4')
  expect(body).toContain('weft_ops_test_total{tenant="aurora"} 3')
  expect(body).toContain('process_cpu_seconds_total')
  registry.removeSingleMetric('weft_ops_test_total')
})

test('/healthz and /readyz are 200 while all is well', async () => {
  expect(await answers(new Health(), '/healthz')).toMatchObject({ statusCode: 200, body: '{"ok":true,"checks":{}}' })
  expect((await answers(new Health(), '/readyz')).statusCode).toBe(200)
})

test('both turn red for a task that makes no progress', async () => {
  const health = new Health()
  health.add('signal', () => ({ ok: false, fatal: true, detail: 'no progress' }))
  expect((await answers(health, '/healthz')).statusCode).toBe(503)
  expect(await answers(health, '/readyz')).toMatchObject({ statusCode: 503 })
  expect((await answers(health, '/readyz')).body).toContain('no progress')
})
