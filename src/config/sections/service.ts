/** `workers`, `limits`, `sigv4`, `health`, `logging`, `metrics` and `tracing`: small sections with good defaults. */
// SPDX-License-Identifier: Apache-2.0
import { duration, integer, object, type Schema } from './section.ts'

export const workers: Schema = {
  type: ['integer', 'string'],
  minimum: 1,
  maximum: 256,
  pattern: '^auto$',
  patternErrorMessage: 'a whole number or auto',
  default: 1,
  description:
    'Processes that serve requests on the same port. `auto`: one for each core that may be used. With one there is no process beside the first.',
  examples: ['auto'],
}

export const limits = object(
  'Ceilings. What is larger is answered with UnsupportedOperationException.',
  {
    maxPlaintextBytes: integer('Plaintext and ciphertext. XKS asks for 4,300 at least.', {
      minimum: 4300,
      maximum: 1_048_576,
      default: 4300,
    }),
    maxAadBytes: integer('Additional authenticated data. XKS asks for 8,192 at least.', {
      minimum: 8192,
      maximum: 65_535,
      default: 8192,
    }),
    requestDeadline: duration(
      'From the first byte of a request; then it is answered with DependencyTimeoutException, or with ThrottlingException when it was not begun. KMS gives up after 250 ms.',
      '200ms',
    ),
  },
  { default: {} },
)

export const sigv4 = object(
  'Signature verification.',
  {
    clockSkew: duration('How far the date of a request may be from our clock, either way.', '5m'),
  },
  { default: {} },
)

export const health = object(
  'GetHealthStatus.',
  {
    interval: duration('Between two deep checks of the key managers; at most 60 s.', '10s'),
    fleetSize: integer(
      'Number of proxies behind the endpoint, reported as xksProxyFleetSize. Default: as many as use the store at the moment.',
      { minimum: 1, maximum: 100_000 },
    ),
  },
  { default: {} },
)

export const logging = object(
  'The log, JSON lines on standard output.',
  {
    level: {
      type: 'string',
      enum: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      description: 'Requests are logged at info.',
    },
  },
  { default: {} },
)

export const metrics = object(
  'A plain HTTP port that answers GET /metrics for Prometheus. Leave it out for none.',
  {
    host: {
      type: 'string',
      minLength: 1,
      default: '127.0.0.1',
      description:
        'Address to bind. Whoever reaches it sees names of key stores and access key ids.',
    },
    port: integer('Port to bind.', { minimum: 0, maximum: 65_535 }),
  },
  { required: ['port'] },
)

export const tracing = object(
  'OpenTelemetry: a trace for each request, with a span for each stage. Leave it out for none.',
  {
    endpoint: {
      type: 'string',
      pattern: '^https?://[^ ]+$',
      patternErrorMessage: 'a URL such as http://127.0.0.1:4318/v1/traces',
      description: 'Where a collector takes OTLP over HTTP.',
      examples: ['http://127.0.0.1:4318/v1/traces'],
    },
    percent: integer('Of the requests, chosen at random.', {
      minimum: 1,
      maximum: 100,
      default: 100,
    }),
  },
  { required: ['endpoint'] },
)
