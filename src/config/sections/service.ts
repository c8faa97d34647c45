/** `workers`, `limits`, `sigv4`, `health`, `logging`, `metrics`, `tracing`, `activity` and `control`. */
// SPDX-License-Identifier: Apache-2.0
import { converted, object, optional, plain } from '../setting.ts'
import { choice, duration, integer, path, port, text } from '../settings.ts'

export const workers = plain<number | 'auto'>({
  type: ['integer', 'string'],
  minimum: 1,
  maximum: 256,
  pattern: '^auto$',
  patternErrorMessage: 'a whole number or auto',
  default: 1,
  description:
    'Processes that serve requests on the same port. `auto`: one for each core that may be used. With one there is no process beside the first.',
  examples: ['auto'],
})

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
      [1, 60_000],
    ),
  },
)

export const sigv4 = object('Signature verification.', {
  clockSkew: duration(
    'How far the date of a request may be from our clock, either way.',
    '5m',
    [1000, 3_600_000],
  ),
})

export const health = object('GetHealthStatus.', {
  interval: duration(
    'Between two deep checks of the key managers; at most 60 s.',
    '10s',
    [100, 60_000],
  ),
  fleetSize: optional(
    integer(
      'Number of proxies behind the endpoint, reported as xksProxyFleetSize. Default: as many as use the store at the moment.',
      { minimum: 1, maximum: 100_000 },
    ),
  ),
})

export const logging = object('The log, JSON lines on standard output.', {
  level: choice(['debug', 'info', 'warn', 'error'], 'Requests are logged at info.', 'info'),
})

export const metrics = object(
  'A plain HTTP port that answers GET /metrics for Prometheus. Leave it out for none.',
  {
    host: text('Address to bind. Whoever reaches it sees names of key stores and access key ids.', {
      default: '127.0.0.1',
    }),
    port: port('Port to bind.'),
  },
)

export const tracing = object(
  'OpenTelemetry: a trace for each request, with a span for each stage. Leave it out for none.',
  {
    endpoint: text('Where a collector takes OTLP over HTTP.', {
      pattern: '^https?://[^ ]+$',
      patternErrorMessage: 'a URL such as http://127.0.0.1:4318/v1/traces',
      examples: ['http://127.0.0.1:4318/v1/traces'],
    }),
    percent: integer('Percent of the requests to trace, chosen at random.', {
      minimum: 1,
      maximum: 100,
      default: 100,
    }),
  },
)

export const activity = object(
  'Counts of who used which key, kept in the store for `kill --rehearse`, `exposure` and the last use of credentials.',
  {
    retention: duration(
      'How long counts by hour are kept. By minute: two hours.',
      '30d',
      [7_200_000, 31_536_000_000],
    ),
    flushInterval: duration(
      'Between two writes; a crash loses what was counted since.',
      '5s',
      [100, 600_000],
    ),
    maxSubjects: integer(
      'Different callers, keys and ways that one process tells apart within an hour. More are counted together, and the log says so.',
      { minimum: 10, maximum: 100_000, default: 2000 },
    ),
  },
)

/** How many people it takes to lift a switch. */
const people = converted(
  integer('1, or 2: somebody else than whoever asked for it must approve.', {
    minimum: 1,
    maximum: 2,
    default: 1,
  }),
  (count) => (count === 2 ? 2 : 1),
)

export const control = object('The kill switch.', {
  lease: duration(
    'How long a server goes on when it cannot read the store; then it refuses everything. Also the longest that a kill takes to be complete.',
    '2s',
    [500, 3_600_000],
  ),
  sentinelFile: optional(
    path(
      'While this file exists, the servers of this host refuse everything. Default: the path of the store with `.block` behind it; with `store.postgres`, `latchkey.block` in the state folder.',
    ),
  ),
  highWaterFile: optional(
    path(
      'Where this host keeps the highest epoch that it has seen, so that a store that was put back from a backup is refused. Default: the path of the store with `.epoch` behind it; with `store.postgres`, `latchkey.epoch` in the state folder: `$STATE_DIRECTORY`, else /var/lib/latchkey, else the folder of the configuration, whichever can be written to first. `serve` does not start when it cannot write there.',
    ),
  ),
  restore: object('What it takes to lift a kill switch. Stopping is always at once.', {
    people,
    delay: duration('Between asking for it and lifting.', '0s', [0, 604_800_000]),
    expires: duration(
      'How long a request to restore can be carried out, once its delay is over. Then it has to be asked for again.',
      '24h',
      [60_000, 2_592_000_000],
    ),
  }),
})
