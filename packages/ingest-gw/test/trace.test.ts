import { context, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { headerOf } from '@weft/transport'
import { afterEach, expect, test } from 'vitest'
import { logged, pageView, send, world } from './fixture.ts'

afterEach(() => {
  trace.disable()
  context.disable()
})

test("with tracing on, the request has a span in the caller's trace, and the event carries that span", async () => {
  const exporter = new InMemorySpanExporter()
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
  await using it = await world()
  const answer = await send(it.url, pageView(), {
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  })
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(1)
  const [span] = exporter.getFinishedSpans()
  expect(span).toMatchObject({
    name: 'POST /v1/events',
    parentSpanContext: { spanId: 'b7ad6b7169203331' },
    attributes: { 'http.response.status_code': 202 },
  })
  const mine = `00-0af7651916cd43dd8448eb211c80319c-${span?.spanContext().spanId}-01`
  expect(answer.headers.get('traceparent')).toBe(mine)
  const [record] = await logged(it.transport)
  expect(record && headerOf(record, 'traceparent')).toBe(mine)
})
