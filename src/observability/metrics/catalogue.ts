/** Every metric of our own, in the order of docs/metrics.md, which a test compares with this table. */
// SPDX-License-Identifier: Apache-2.0

export interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  /** How the values of several workers become one. */
  readonly aggregator: 'sum' | 'min' | 'max' | 'first'
}

const ofRequest = ['key_store', 'operation'] as const
const sum = 'sum'

export const METRICS = {
  latchkey_request_duration_seconds: {
    type: 'histogram',
    help: 'From the first byte of a request to its answer.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_stage_duration_seconds: {
    type: 'histogram',
    help: 'The same by stage; the stages add up to the whole.',
    labels: [...ofRequest, 'stage'],
    aggregator: sum,
  },
  latchkey_added_latency_seconds: {
    type: 'histogram',
    help: 'What successful requests took beyond the same AES-GCM in this process.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_baseline_seconds: {
    type: 'gauge',
    help: 'That AES-GCM of a data key in process, measured at the start.',
    labels: ['operation'],
    aggregator: 'max',
  },
  latchkey_requests_total: {
    type: 'counter',
    help: 'Requests that were answered.',
    labels: [...ofRequest, 'error_name', 'reason'],
    aggregator: sum,
  },
  latchkey_requests_shed_total: {
    type: 'counter',
    help: 'Requests answered with ThrottlingException unseen, for want of time.',
    labels: [],
    aggregator: sum,
  },
  latchkey_connections: {
    type: 'gauge',
    help: 'Open connections of the TLS port.',
    labels: [],
    aggregator: sum,
  },
  latchkey_connections_refused_total: {
    type: 'counter',
    help: 'Connections that never became a request.',
    labels: ['reason'],
    aggregator: sum,
  },
  latchkey_tls_handshake_duration_seconds: {
    type: 'histogram',
    help: 'From the TCP connection to the end of the TLS handshake.',
    labels: ['version', 'http', 'resumed'],
    aggregator: sum,
  },
  latchkey_quota_requests_per_second: {
    type: 'gauge',
    help: 'The configured quota of a key store, of all its processes together.',
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_gate_refusing: {
    type: 'gauge',
    help: '1 while everything is refused, with the reason.',
    labels: ['reason'],
    aggregator: 'max',
  },
  latchkey_gate_epoch: {
    type: 'gauge',
    help: 'Epoch of the rules that the gate goes by; of several workers the lowest.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_gate_switches: {
    type: 'gauge',
    help: 'Switches and leases of the gate.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_gate_lease_age_seconds: {
    type: 'gauge',
    help: 'Since the control store was last read; of several workers the highest.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_gate_lease_left_seconds: {
    type: 'gauge',
    help: 'Until everything is refused for want of a lease; of several workers the lowest.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_gate_refusals_total: {
    type: 'counter',
    help: 'Requests that the gate refused.',
    labels: ['reason'],
    aggregator: sum,
  },
  latchkey_gate_late_answers_total: {
    type: 'counter',
    help: 'Answers that may have left after the lease that they were released under.',
    labels: [],
    aggregator: sum,
  },
  latchkey_lease_guard: {
    type: 'gauge',
    help: '1 where the kernel guards the end of the lease; of several workers the lowest.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_lease_guard_fired_total: {
    type: 'counter',
    help: 'How often a process was stopped for longer than its lease, and had its connections cut.',
    labels: [],
    aggregator: sum,
  },
  latchkey_key_manager_state: {
    type: 'gauge',
    help: '1 for the state that the last deep check found.',
    labels: ['key_store', 'manager', 'state'],
    aggregator: 'max',
  },
  latchkey_token_sessions: {
    type: 'gauge',
    help: 'PKCS#11 sessions of a token.',
    labels: ['backend', 'token', 'state'],
    aggregator: sum,
  },
  latchkey_token_queued: {
    type: 'gauge',
    help: 'Calls that wait for a session.',
    labels: ['backend', 'token'],
    aggregator: sum,
  },
  latchkey_token_circuit: {
    type: 'gauge',
    help: '1 for the state of the circuit.',
    labels: ['backend', 'token', 'state'],
    aggregator: 'max',
  },
  latchkey_token_hosts: {
    type: 'gauge',
    help: 'Processes that hold the module of a token.',
    labels: ['backend', 'token'],
    aggregator: sum,
  },
  latchkey_token_host_restarts_total: {
    type: 'counter',
    help: 'Such processes that were started beyond the first ones.',
    labels: ['backend', 'token'],
    aggregator: sum,
  },
  latchkey_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    help: 'When a certificate ends.',
    labels: ['certificate'],
    aggregator: 'min',
  },
  latchkey_credential_age_seconds: {
    type: 'gauge',
    help: 'Since a credential was made here.',
    labels: ['key_store', 'access_key_id'],
    aggregator: 'max',
  },
  latchkey_credential_last_used_timestamp_seconds: {
    type: 'gauge',
    help: 'When a request was last signed with it; 0: not since the start.',
    labels: ['key_store', 'access_key_id'],
    aggregator: 'max',
  },
  latchkey_log_blocks_dropped_total: {
    type: 'counter',
    help: 'Blocks of log lines that a slow reader did not take.',
    labels: [],
    aggregator: sum,
  },
  latchkey_info: {
    type: 'gauge',
    help: '1, with the versions of Latchkey and of Node.js.',
    labels: ['version', 'node'],
    aggregator: 'first',
  },
} as const satisfies Readonly<Record<string, MetricDescription>>

export type MetricName = keyof typeof METRICS
