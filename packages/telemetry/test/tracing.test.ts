import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { HEADERS, header, headerOf } from '@weft/transport'
import { expect, test } from 'vitest'
import { inject, parseTraceparent, startTracing, traceOf, traceparent, tracer } from '../src/index.ts'

const VALID = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

test('a traceparent survives parsing and making', () => {
  expect(traceparent(parseTraceparent(VALID))).toBe(VALID)
})

test('a made traceparent is valid and each its own', () => {
  expect(parseTraceparent(traceparent())).toMatchObject({ traceFlags: 1, isRemote: true })
  expect(traceparent()).not.toBe(traceparent())
})

test.for([
  undefined,
  '',
  'nonsense',
  `${VALID}-more`,
  VALID.toUpperCase(),
  VALID.replace(/^00/, 'ff'),
  VALID.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
  VALID.replace('b7ad6b7169203331', '0'.repeat(16)),
  `${VALID}\r\nx: y`,
])('"%s" is no traceparent', value => {
  expect(parseTraceparent(value)).toBeUndefined()
})

test('a later version with more behind the flags is still understood', () => {
  expect(parseTraceparent(`cc${VALID.slice(2)}-what-comes`)?.traceId).toBe('0af7651916cd43dd8448eb211c80319c')
})

test('a message hands its trace on, in place of an older header', () => {
  const from = traceOf({ headers: [header(HEADERS.trace, VALID)] })
  const other = header('weft-tenant', 'aurora')
  const headers = inject([header(HEADERS.trace, '00-old'), other], from)
  expect(headers.filter(([name]) => name === HEADERS.trace).length).toBe(1)
  expect(headerOf({ headers }, HEADERS.trace)).toBe(VALID)
  expect(headers).toContain(other)
})

test('a message without a trace starts at the root and nothing is injected', () => {
  expect(traceOf({ headers: [] })).toBe(ROOT_CONTEXT)
  expect(inject([], ROOT_CONTEXT)).toEqual([])
})

test.for([
  {},
  { OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' },
  { OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' },
])('%o starts no tracing', async env => {
  expect(await startTracing('weft', env)).toBeUndefined()
})

test('spans reach the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, under the name of the service', async () => {
  const bodies: Buffer[] = []
  const paths: string[] = []
  const collector = createServer(async (request, response) => {
    paths.push(request.url ?? '')
    for await (const chunk of request) bodies.push(chunk)
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  })
  await new Promise<void>(resolve => collector.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint
  try {
    const tracing = await startTracing('weft-test', process.env)
    const span = tracer('pipeline').startSpan('validate', {}, traceOf({ headers: [header(HEADERS.trace, VALID)] }))
    const carried = inject([], trace.setSpan(context.active(), span))
    expect(headerOf({ headers: carried }, HEADERS.trace)).toContain('0af7651916cd43dd8448eb211c80319c')
    span.end()
    await tracing?.[Symbol.asyncDispose]()
  } finally {
    delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT
    collector.close()
  }
  expect(paths).toContain('/v1/traces')
  const sent = Buffer.concat(bodies)
  expect(sent.includes('weft-test') && sent.includes('validate')).toBe(true)
  expect(sent.includes(Buffer.from('0af7651916cd43dd8448eb211c80319c', 'hex'))).toBe(true)
})

test('a collector that is away does not hold up the end', async () => {
  const tracing = await startTracing('weft-test', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })
  expect(tracing).toBeDefined()
  tracer('pipeline').startSpan('lost').end()
  await tracing?.[Symbol.asyncDispose]()
})
