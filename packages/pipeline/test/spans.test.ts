import { trace } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { loadCatalogue } from '@weft/schema'
import { expect, test } from 'vitest'
import { runTask, validate } from '../src/index.ts'
import { begins } from './events.ts'
import { processed, RAW, rawMessage, temporaryStore } from './store.ts'

const catalogue = await loadCatalogue()

test('each task draws a span in the trace that its record carries, whose headers stay as they are', async () => {
  const exporter = new InMemorySpanExporter()
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] })
  trace.setGlobalTracerProvider(provider)
  await using store = await temporaryStore(catalogue)
  await store.transport.append(RAW, [rawMessage(catalogue, begins())])
  const task = { name: 'ingest', stages: [validate()] }
  {
    await using _ = await runTask(store.transport, catalogue, task)
    await processed(store.transport, [task])
  }
  const spans = exporter.getFinishedSpans().map(span => ({
    name: span.name,
    trace: span.spanContext().traceId,
    parent: span.parentSpanContext?.spanId,
  }))
  expect(spans).toEqual([{ name: 'weft ingest', trace: '1'.repeat(32), parent: '2'.repeat(16) }])
})
