/** `workers`, `limits`, `sigv4`, `health`, `logging`, `metrics`, `tracing`, `activity`, `policy`, `audit` and `control`. */
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
    'Number of processes that serve requests on the same port. `auto`: one per available core. With 1 there is no separate primary process.',
  examples: ['auto'],
})

export const limits = object(
  'Limits. Larger requests are answered with UnsupportedOperationException.',
  {
    maxPlaintextBytes: integer(
      'Maximum bytes of plaintext and of ciphertext. XKS requires at least 4,300.',
      {
        minimum: 4300,
        maximum: 1_048_576,
        default: 4300,
      },
    ),
    maxAadBytes: integer(
      'Maximum bytes of additional authenticated data. XKS requires at least 8,192.',
      {
        minimum: 8192,
        maximum: 65_535,
        default: 8192,
      },
    ),
    requestDeadline: duration(
      'Deadline counted from the first byte of a request. After it, the answer is DependencyTimeoutException, or ThrottlingException if the request was not started. KMS gives up after 250 ms.',
      '200ms',
      [1, 60_000],
    ),
  },
)

export const sigv4 = object('Signature verification.', {
  clockSkew: duration(
    "Maximum difference between the date of a request and the server's clock, in either direction.",
    '5m',
    [1000, 3_600_000],
  ),
})

export const health = object('GetHealthStatus.', {
  interval: duration(
    'Interval between two deep checks of the key managers; at most 60 s.',
    '10s',
    [100, 60_000],
  ),
  fleetSize: optional(
    integer(
      'Number of proxies behind the endpoint, reported as xksProxyFleetSize. Default: the number that currently use the store.',
      { minimum: 1, maximum: 100_000 },
    ),
  ),
})

export const logging = object('The log: JSON lines on standard output.', {
  level: choice(
    ['debug', 'info', 'warn', 'error'],
    'Minimum level of the lines to write. Requests are logged at info.',
    'info',
  ),
  format: choice(
    ['latchkey', 'ecs', 'otel'],
    "Names of the fields. latchkey: those of docs/logging.md, which `latchkey report --log` needs; ecs: Elastic Common Schema; otel: OpenTelemetry's log data model with its semantic conventions.",
    'latchkey',
  ),
})

export const metrics = object(
  'A plain HTTP port that answers GET /metrics for Prometheus. Omit it to disable it.',
  {
    host: text(
      'Address to bind. The metrics reveal key store names and access key ids to anyone who can reach it.',
      {
        default: '127.0.0.1',
      },
    ),
    port: port('Port to bind.'),
  },
)

export const tracing = object(
  'OpenTelemetry: a trace for each request, with a span for each stage. Omit it to disable it.',
  {
    endpoint: text("URL of a collector's OTLP/HTTP endpoint.", {
      pattern: '^https?://[^ ]+$',
      patternErrorMessage: 'a URL such as http://127.0.0.1:4318/v1/traces',
      examples: ['http://127.0.0.1:4318/v1/traces'],
    }),
    percent: integer('Sampling rate in percent.', {
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
      'How long hourly counts are kept. Counts per minute are kept for two hours.',
      '30d',
      [7_200_000, 31_536_000_000],
    ),
    flushInterval: duration(
      'Interval between two writes. A crash loses the counts since the last one.',
      '5s',
      [100, 600_000],
    ),
    maxSubjects: integer(
      'Maximum number of different callers, keys and services that one process counts individually within an hour. Further ones are counted together, with a warning in the log.',
      { minimum: 10, maximum: 100_000, default: 2000 },
    ),
  },
)

export const policy = object(
  'Policies about who may use which key. Without one, every caller with a credential of a key store may use all of its keys.',
  {
    folder: optional(
      path(
        'Folder of policies: `NAME.cedar`, `NAME.shadow.cedar` and `labels.yaml`. Changed files take effect within five seconds. Omit it to keep policies in the store, where `latchkey policy put` writes them and every instance applies them at once.',
      ),
    ),
  },
)

export const audit = object(
  'The audit log: a record of every request that third parties can verify (docs/audit.md).',
  {
    mode: choice(
      ['off', 'buffered', 'strict'],
      'buffered: an answer does not wait for its record. strict: the plaintext of a Decrypt leaves only once its record is on the disk; if it cannot be written, the request is refused.',
      'off',
    ),
    folder: optional(
      path(
        'Folder of the logs; each process writes its own. Default: the path of the store followed by `.audit`; with `store.postgres`, `latchkey.audit` in the state folder.',
      ),
    ),
    checkpointInterval: duration(
      'Interval at which a log that has grown is signed.',
      '1s',
      [100, 60_000],
    ),
    headInterval: duration(
      'Interval at which the size and root of a log that has grown are recorded in the control log, so that replacing the log with an older copy is detected.',
      '1h',
      [1000, 86_400_000],
    ),
    principals: choice(
      ['plain', 'hashed'],
      'hashed: entries have a keyed hash in place of the ARN of the caller (docs/audit.md#hashed-principals).',
      'plain',
    ),
    witnesses: optional(
      object('Witnesses that cosign the control log. Omit it to have none.', {
        policy: path(
          'Witness policy file (format: c2sp.org/tlog-policy): the witnesses with their URLs and keys, and the quorum.',
        ),
        interval: duration(
          'Interval at which the witnesses are asked, if the control log has grown.',
          '10s',
          [1000, 3_600_000],
        ),
        timeout: duration(
          'How long to wait for a witness. No request waits for one.',
          '5s',
          [100, 60_000],
        ),
      }),
    ),
  },
)

/** Number of people needed to lift a switch. */
const people = converted(
  integer('Number of people needed: 1, or 2 if a second person must approve.', {
    minimum: 1,
    maximum: 2,
    default: 1,
  }),
  (count) => (count === 2 ? 2 : 1),
)

export const control = object('The kill switch.', {
  lease: duration(
    'How long a server keeps serving when it cannot read the store; then it refuses everything. It is also the longest time until a kill is complete.',
    '2s',
    [500, 3_600_000],
  ),
  sentinelFile: optional(
    path(
      'While this file exists, the servers of this host refuse everything. Default: the path of the store followed by `.block`; with `store.postgres`, `latchkey.block` in the state folder.',
    ),
  ),
  highWaterFile: optional(
    path(
      'File with the highest epoch that this host has seen, so that a store restored from a backup is refused. Default: the path of the store followed by `.epoch`; with `store.postgres`, `latchkey.epoch` in the state folder: the first writable of `$STATE_DIRECTORY`, /var/lib/latchkey and the folder of the configuration. `serve` does not start if it cannot write the file.',
    ),
  ),
  restore: object('Conditions for lifting a kill switch. Stopping is always immediate.', {
    people,
    delay: duration('Time between the request and the restore.', '0s', [0, 604_800_000]),
    expires: duration(
      'How long a restore request can be carried out after its delay. Then it must be made again.',
      '24h',
      [60_000, 2_592_000_000],
    ),
  }),
})
