/**
 * Converts log lines to the field names of the Elastic Common Schema or of OpenTelemetry's log data
 * model.
 */
// SPDX-License-Identifier: Apache-2.0

/** Field naming conventions other than Latchkey's own. */
export type Convention = 'ecs' | 'otel'

/** The process that writes the log. */
export interface LogSource {
  readonly version: string
  readonly instanceId: string
}

/** A line with Latchkey's own field names, such as `level`, `time` and `msg`. */
export type Line = Readonly<Record<string, unknown>>

/** Names and OpenTelemetry severity numbers of pino's levels. */
const LEVELS: ReadonlyMap<unknown, readonly [name: string, severity: number]> = new Map([
  [20, ['debug', 5]],
  [30, ['info', 9]],
  [40, ['warn', 13]],
  [50, ['error', 17]],
])

const NANOSECONDS = 1_000_000
const FIRST_FAILURE = 400

/**
 * Fields that have a name in both conventions; all other fields keep their name, prefixed with
 * `latchkey.`.
 */
const NAMES: Readonly<Record<string, readonly [ecs: string, otel: string]>> = {
  status: ['http.response.status_code', 'http.response.status_code'],
  method: ['http.request.method', 'http.request.method'],
  target: ['url.original', 'url.path'],
  bodyBytes: ['http.request.body.bytes', 'http.request.body.size'],
  http: ['http.version', 'network.protocol.version'],
  remoteAddress: ['client.ip', 'client.address'],
  region: ['cloud.region', 'cloud.region'],
  kmsRequestId: ['http.request.id', 'aws.request_id'],
  errorName: ['error.code', 'error.type'],
}

/** Returns the line with the field names of another convention. */
export function toConvention(
  format: Convention,
  line: Line,
  { version, instanceId }: LogSource,
): Line {
  const { level, time, msg, ...fields } = line
  const [name, severity] = LEVELS.get(level) ?? ['info', 9]
  const service = {
    'service.name': 'latchkey',
    'service.version': version,
    ...(format === 'ecs' ? { 'service.node.name': instanceId } : {}),
    ...(format === 'otel' ? { 'service.instance.id': instanceId } : {}),
  }
  const attributes = Object.fromEntries(
    Object.entries(fields).flatMap(([field, value]) => rename(format, field, value)),
  )
  if (format === 'otel') {
    return {
      Timestamp: time,
      SeverityText: name.toUpperCase(),
      SeverityNumber: severity,
      Body: msg,
      Resource: service,
      Attributes: attributes,
    }
  }
  const { status } = fields
  return {
    '@timestamp': time,
    'log.level': name,
    message: msg,
    'ecs.version': '8.11.0',
    ...service,
    ...(typeof status === 'number'
      ? { 'event.outcome': status < FIRST_FAILURE ? 'success' : 'failure' }
      : {}),
    ...attributes,
  }
}

function rename(
  format: Convention,
  field: string,
  value: unknown,
): readonly (readonly [string, unknown])[] {
  if (value === undefined) return []
  if (field === 'err') return describeError(format, value)
  if (format === 'ecs' && field === 'totalMs')
    return [['event.duration', Number(value) * NANOSECONDS]]
  const names = NAMES[field]
  const name = names === undefined ? `latchkey.${field}` : names[format === 'ecs' ? 0 : 1]
  return [[name, value]]
}

/** @param value an error as pino serializes it */
function describeError(
  format: Convention,
  value: unknown,
): readonly (readonly [string, unknown])[] {
  const { type, message, stack, ...rest } = (value ?? {}) as Readonly<Record<string, unknown>>
  const [kind, text, trace] =
    format === 'ecs'
      ? ['error.type', 'error.message', 'error.stack_trace']
      : ['exception.type', 'exception.message', 'exception.stacktrace']
  const others = Object.keys(rest).length === 0 ? [] : [['latchkey.err', rest] as const]
  return [
    [kind, type] as const,
    [text, message] as const,
    [trace, stack] as const,
    ...others,
  ].filter(([, one]) => one !== undefined)
}
