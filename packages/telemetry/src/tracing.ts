import { randomBytes } from 'node:crypto'
import {
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type SpanContext,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { HEADERS, type Header, header, headerOf, type Message } from '@weft/transport'

/** W3C trace context: version, trace id, parent id, flags; a version above 00 may carry more behind them. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** undefined for whatever W3C trace context does not allow. */
export function parseTraceparent(value: string | undefined): SpanContext | undefined {
  const match = value && TRACEPARENT.exec(value.trim())
  if (!match || (match[1] === '00' && match[5])) return undefined
  const [, , traceId = '', spanId = '', flags = '00'] = match
  const parsed: SpanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
  return isSpanContextValid(parsed) ? parsed : undefined
}

/** Hex digits. */
const IDS = 48
const NO_TRACE = '0'.repeat(32)
const NO_SPAN = '0'.repeat(16)
/** Random digits for 128 traces at a time: asking for each costs several microseconds. */
let pool = ''
let used = 0

/** The header's value for a span; without one, that of a trace that starts here. */
export function traceparent(span?: SpanContext): string {
  if (span) return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 1).toString(16).padStart(2, '0')}`
  if (used === pool.length) {
    pool = randomBytes(64 * IDS).toString('hex')
    used = 0
  }
  const traceId = pool.slice(used, used + 32)
  const spanId = pool.slice(used + 32, used + IDS)
  used += IDS
  // Zeros alone are no id: once in 2^64 another one has to be drawn.
  return traceId === NO_TRACE || spanId === NO_SPAN ? traceparent() : `00-${traceId}-${spanId}-01`
}

/** The context of the trace a message belongs to; the root context if it carries none. */
export function traceOf(message: Pick<Message, 'headers'>): Context {
  const parsed = parseTraceparent(headerOf(message, HEADERS.trace))
  return parsed ? trace.setSpanContext(ROOT_CONTEXT, parsed) : ROOT_CONTEXT
}

/** The headers with the trace of `from` (default: the active one) in place of any other; unchanged if there is none. */
export function inject(headers: readonly Header[] = [], from: Context = context.active()): readonly Header[] {
  const span = trace.getSpanContext(from)
  if (!span || !isSpanContextValid(span)) return headers
  return [...headers.filter(([name]) => name !== HEADERS.trace), header(HEADERS.trace, traceparent(span))]
}

/** Spans of one package. Costs next to nothing while no tracing was started. */
export const tracer = (name: string): Tracer => trace.getTracer(`@weft/${name}`)

/**
 * Exports spans over OTLP when the standard OTEL_* variables ask for it (OTEL_EXPORTER_OTLP_ENDPOINT or its traces
 * form, OTEL_TRACES_EXPORTER=otlp|console, unless OTEL_SDK_DISABLED=true); nothing is loaded otherwise. Dispose it to
 * send what is left. OTEL_SERVICE_NAME wins over `service`.
 */
export async function startTracing(
  service: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<AsyncDisposable | undefined> {
  const exporter = env.OTEL_TRACES_EXPORTER?.trim().toLowerCase()
  const endpoint = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || exporter === 'none' || !(exporter || endpoint))
    return undefined
  const { start } = await import('./exporting.ts')
  return start(service, exporter === 'console' ? 'console' : 'otlp', env)
}
