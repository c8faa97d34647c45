/**
 * Defines the sections `workers`, `limits`, `sigv4`, `health`, `logging`, `metrics`, `tracing`,
 * `activity`, `policy`, `audit` and `control`.
 */
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
    'Number of worker processes, which share one port. `auto` starts one worker for each available core. If the value is 1, a single process serves all requests.',
  examples: ['auto'],
})

export const limits = object(
  'Size and time limits for requests. A request that is too large gets UnsupportedOperationException.',
  {
    maxPlaintextBytes: integer(
      'Maximum size of a plaintext or ciphertext, in bytes. XKS requires at least 4,300.',
      {
        minimum: 4300,
        maximum: 1_048_576,
        default: 4300,
      },
    ),
    maxAadBytes: integer(
      'Maximum size of the additional authenticated data, in bytes. XKS requires at least 8,192.',
      {
        minimum: 8192,
        maximum: 65_535,
        default: 8192,
      },
    ),
    requestDeadline: duration(
      'Time limit for a request, counted from its first byte. A request that exceeds it gets DependencyTimeoutException, or ThrottlingException if its processing has not started. KMS itself gives up after 250 ms.',
      '200ms',
      [1, 60_000],
    ),
  },
)

export const sigv4 = object('Verification of request signatures (AWS Signature Version 4).', {
  clockSkew: duration(
    "Maximum difference between the date of a request and the server's clock, in either direction.",
    '5m',
    [1000, 3_600_000],
  ),
})

export const health = object('Health checks, and the response to GetHealthStatus.', {
  interval: duration(
    'Interval between deep checks of the key managers; at most 60 s.',
    '10s',
    [100, 60_000],
  ),
  fleetSize: optional(
    integer(
      'Number of proxies behind the endpoint, reported as xksProxyFleetSize. Default: the number of proxies that currently use the store.',
      { minimum: 1, maximum: 100_000 },
    ),
  ),
})

export const logging = object('The log: JSON lines on standard output.', {
  level: choice(
    ['debug', 'info', 'warn', 'error'],
    'Minimum level of the lines to log. Requests are logged at info.',
    'info',
  ),
  format: choice(
    ['latchkey', 'ecs', 'otel'],
    'Field names in the log. latchkey: the names in docs/logging.md, which `latchkey report --log` requires. ecs: Elastic Common Schema. otel: the log data model and semantic conventions of OpenTelemetry.',
    'latchkey',
  ),
})

export const metrics = object(
  'Plain HTTP port that serves GET /metrics for Prometheus. Omit this section to disable the port.',
  {
    host: text(
      'Address to bind. Anyone who can reach it can read key store names and access key ids in the metrics.',
      {
        default: '127.0.0.1',
      },
    ),
    port: port('Port to bind.'),
  },
)

export const tracing = object(
  'OpenTelemetry tracing: one trace for each request, with a span for each stage. Omit this section to disable tracing.',
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
  'Usage counts by caller and key. They are kept in the store for `kill --rehearse`, for `exposure`, and to show when each credential was last used.',
  {
    retention: duration(
      'How long hourly counts are kept. Per-minute counts are always kept for two hours.',
      '30d',
      [7_200_000, 31_536_000_000],
    ),
    flushInterval: duration(
      'Interval at which counts are written to the store. A crash loses all counts since the last write.',
      '5s',
      [100, 600_000],
    ),
    maxSubjects: integer(
      'Maximum number of distinct callers, keys and services that one process counts individually within an hour. Above this number, the process logs a warning and counts all others together.',
      { minimum: 10, maximum: 100_000, default: 2000 },
    ),
  },
)

export const policy = object(
  'Policies that decide who may use which key. Without policies, every caller that has a credential for a key store may use all keys in that key store.',
  {
    folder: optional(
      path(
        'Folder with the policy files `NAME.cedar`, `NAME.shadow.cedar` and `labels.yaml`. Changes take effect within five seconds. Omit this setting to keep policies in the store instead: `latchkey policy put` writes them there, and every instance applies them at once.',
      ),
    ),
  },
)

export const audit = object(
  'The audit log: a record of every request, which third parties can verify (docs/audit.md).',
  {
    mode: choice(
      ['off', 'buffered', 'strict'],
      'off: no audit log. buffered: responses do not wait for their records, which are on disk after about 70 ms. strict: the plaintext of a Decrypt is sent only once its record is on disk; if the record cannot be written, the request is refused.',
      'off',
    ),
    folder: optional(
      path(
        'Folder for the audit logs. Each process writes its own log. Default: the path of the store followed by `.audit`; with `store.postgres`, `latchkey.audit` in the state folder.',
      ),
    ),
    checkpointInterval: duration(
      'Interval at which Latchkey signs each log that has grown.',
      '1s',
      [100, 60_000],
    ),
    headInterval: duration(
      'Interval at which Latchkey records, in the control log, the size and root hash of each log that has grown. These records reveal whether a log was replaced by an older copy.',
      '1h',
      [1000, 86_400_000],
    ),
    principals: choice(
      ['plain', 'hashed'],
      "Form in which a record names the caller. plain: the caller's ARN. hashed: a keyed hash of the ARN (docs/audit.md#hashed-principals).",
      'plain',
    ),
    witnesses: optional(
      object('Witnesses that cosign the control log. Omit this section to use no witnesses.', {
        policy: path(
          'Witness policy file in the c2sp.org/tlog-policy format, which lists the witnesses with their URLs and keys, and sets the quorum.',
        ),
        interval: duration(
          'Interval at which Latchkey checks whether the control log has grown and, if so, sends it to the witnesses.',
          '10s',
          [1000, 3_600_000],
        ),
        timeout: duration(
          "How long to wait for a witness's response. Requests from KMS never wait for a witness.",
          '5s',
          [100, 60_000],
        ),
      }),
    ),
  },
)

/** Number of people needed to lift a switch. */
const people = converted(
  integer(
    'Number of people that a restore requires. If it is 2, a second person must approve the restore.',
    {
      minimum: 1,
      maximum: 2,
      default: 1,
    },
  ),
  (count) => (count === 2 ? 2 : 1),
)

export const control = object('Settings of the kill switch.', {
  lease: duration(
    'How long a server that cannot read the store keeps serving. After that, it refuses all requests. A kill is complete within this time at the latest.',
    '2s',
    [500, 3_600_000],
  ),
  sentinelFile: optional(
    path(
      'File that blocks this host: while it exists, all servers on the host refuse all requests. Default: the path of the store followed by `.block`; with `store.postgres`, `latchkey.block` in the state folder.',
    ),
  ),
  highWaterFile: optional(
    path(
      'File that records the highest epoch that this host has seen, so that Latchkey can refuse a store that was restored from a backup. If `serve` cannot write the file, it does not start. Default: the path of the store followed by `.epoch`; with `store.postgres`, `latchkey.epoch` in the state folder. The state folder is the first of these that is writable: `$STATE_DIRECTORY`, /var/lib/latchkey, and the folder of the configuration file.',
    ),
  ),
  restore: object('Conditions for lifting a kill switch. They never apply to a kill.', {
    people,
    delay: duration(
      'Waiting period between a restore request and the restore itself.',
      '0s',
      [0, 604_800_000],
    ),
    expires: duration(
      'How long a restore request stays valid once its waiting period is over. After that, a new request is needed.',
      '24h',
      [60_000, 2_592_000_000],
    ),
  }),
})
