/**
 * Sends traces over OTLP/HTTP: a span per request, with one child span per stage. When tracing is
 * off, its packages are not loaded.
 */
// SPDX-License-Identifier: Apache-2.0
import type { TracerProviderOptions } from '@opentelemetry/sdk-trace'
import { type RequestRecord, STAGES } from '../core/request.ts'

export interface Tracing {
  request(record: RequestRecord): void
  /** Sends the remaining spans and stops tracing. */
  stop(): Promise<void>
}

export interface TracingOptions {
  /** URL of a collector, such as `http://127.0.0.1:4318/v1/traces`. */
  readonly endpoint: string
  /** Sampling rate in percent. */
  readonly percent: number
  readonly version: string
  readonly instanceId: string
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
    resource: describe(options),
    sampler: new sdk.TraceIdRatioBasedSampler(options.percent / 100),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter })],
  })
  const tracer = provider.getTracer('latchkey', options.version)
  return {
    request(record) {
      const { at, totalMs = 0, operation = 'unknown', status } = record
      // Two KMS ids, which help to find the request again, are the only outside values in a span.
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

/**
 * Builds the resource here, because the package that builds resources is not a direct dependency,
 * and these fixed attributes need no resource detection.
 */
function describe({ version, instanceId }: TracingOptions): Resource {
  const attributes = {
    'service.name': 'latchkey',
    'service.version': version,
    'service.instance.id': instanceId,
  }
  const resource: Resource = {
    attributes,
    asyncAttributesPending: false,
    merge: () => resource,
    getRawAttributes: () => Object.entries(attributes),
  }
  return resource
}
