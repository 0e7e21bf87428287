import { context, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ConsoleSpanExporter,
  ParentBasedSampler,
  type Sampler,
  SimpleSpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'

/** OTEL_TRACES_SAMPLER and its argument, as the OpenTelemetry specification names them; everything by default. */
function sampler({
  OTEL_TRACES_SAMPLER = 'parentbased_always_on',
  OTEL_TRACES_SAMPLER_ARG,
}: NodeJS.ProcessEnv): Sampler {
  const asked = OTEL_TRACES_SAMPLER.toLowerCase()
  const ratio = Number(OTEL_TRACES_SAMPLER_ARG ?? 1)
  const kind = asked.replace('parentbased_', '')
  const root =
    kind === 'always_off'
      ? new AlwaysOffSampler()
      : kind === 'traceidratio' && ratio >= 0 && ratio <= 1
        ? new TraceIdRatioBasedSampler(ratio)
        : new AlwaysOnSampler()
  return asked.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root
}

const LAST_EXPORT_MS = 2_000

/** Loaded only when tracing is asked for; the exporter reads its endpoint, headers and limits from OTEL_* itself. */
export function start(service: string, exporter: 'otlp' | 'console', env: NodeJS.ProcessEnv): AsyncDisposable {
  const processor =
    exporter === 'console'
      ? new SimpleSpanProcessor({ exporter: new ConsoleSpanExporter() })
      : new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })
  const provider = new TracerProvider({
    sampler: sampler(env),
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': service }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [processor],
  })
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  )
  trace.setGlobalTracerProvider(provider)
  return {
    async [Symbol.asyncDispose]() {
      // A collector that is away must not make the shutdown fail, nor hold it up for as long as its retries last.
      const late = new Promise(resolve => setTimeout(resolve, LAST_EXPORT_MS).unref())
      await Promise.race([provider.shutdown().catch(() => {}), late])
      trace.disable()
      context.disable()
      propagation.disable()
    },
  }
}
