/** Traces by OTLP over HTTP: a span for each request, and in it one for each stage. Off, it is not even loaded. */
// SPDX-License-Identifier: Apache-2.0
import type { TracerProviderOptions } from '@opentelemetry/sdk-trace'
import { type RequestRecord, STAGES } from '../core/request.ts'

export interface Tracing {
  request(record: RequestRecord): void
  /** Sends what is left. */
  stop(): Promise<void>
}

export interface TracingOptions {
  /** Of a collector, as `http://127.0.0.1:4318/v1/traces`. */
  readonly endpoint: string
  /** Of a hundred requests. */
  readonly percent: number
  readonly version: string
}

type Resource = NonNullable<TracerProviderOptions['resource']>

const SERVER_ERROR = 500
const SEND_WITHIN_MS = 5000

/** @throws ERR_MODULE_NOT_FOUND when the optional packages are not installed */
export async function startTracing(options: TracingOptions): Promise<Tracing> {
  const [api, sdk, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ])
  const exporter = new OTLPTraceExporter({ url: options.endpoint, timeoutMillis: SEND_WITHIN_MS })
  const provider = new sdk.TracerProvider({
    resource: describe(options.version),
    sampler: new sdk.TraceIdRatioBasedSampler(options.percent / 100),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter })],
  })
  const tracer = provider.getTracer('latchkey', options.version)
  return {
    request(record) {
      const { at, totalMs = 0, operation = 'unknown', status } = record
      // Nothing from outside but the two ids of KMS that help to find the request again.
      const attributes = {
        'http.response.status_code': status,
        keyStore: record.keyStore,
        operation,
        kmsRequestId: record.metadata?.kmsRequestId,
        kmsOperation: record.metadata?.kmsOperation,
        errorName: record.errorName,
        reason: record.reason,
      }
      const kind = api.SpanKind.SERVER
      const span = tracer.startSpan(
        operation,
        { kind, startTime: at, attributes },
        api.ROOT_CONTEXT,
      )
      if (span.isRecording()) {
        const inside = api.trace.setSpan(api.ROOT_CONTEXT, span)
        let startTime = at
        for (const [i, name] of STAGES.entries()) {
          const ms = record.stages[i] ?? NaN
          if (Number.isNaN(ms)) continue
          tracer.startSpan(name, { startTime }, inside).end(startTime + ms)
          startTime += ms
        }
      }
      if ((status ?? 0) >= SERVER_ERROR) span.setStatus({ code: api.SpanStatusCode.ERROR })
      span.end(at + totalMs)
    },
    stop: () => provider.shutdown().catch(() => undefined),
  }
}

/** The package that would make one is not ours to import; three attributes need no detection. */
function describe(version: string): Resource {
  const attributes = { 'service.name': 'latchkey', 'service.version': version }
  const resource: Resource = {
    attributes,
    asyncAttributesPending: false,
    merge: () => resource,
    getRawAttributes: () => Object.entries(attributes),
  }
  return resource
}
