/** All of Latchkey's own metrics, in the order of docs/metrics.md. A test compares the two. */
// SPDX-License-Identifier: Apache-2.0

export interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  /** How the values of several workers are combined. */
  readonly aggregator: 'sum' | 'min' | 'max' | 'first'
}

const ofRequest = ['key_store', 'operation'] as const
const sum = 'sum'
const total = { type: 'counter', labels: [], aggregator: sum } as const
const amount = { type: 'gauge', labels: [], aggregator: sum } as const
const ofToken = { labels: ['backend', 'token'], aggregator: sum } as const

export const METRICS = {
  latchkey_request_duration_seconds: {
    type: 'histogram',
    help: 'Time from the first byte of a request to its answer.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_stage_duration_seconds: {
    type: 'histogram',
    help: 'Time by stage; the stages add up to the request duration.',
    labels: [...ofRequest, 'stage'],
    aggregator: sum,
  },
  latchkey_added_latency_seconds: {
    type: 'histogram',
    help: 'Time of successful requests beyond the same AES-GCM operation in this process.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_baseline_seconds: {
    type: 'gauge',
    help: 'Time of AES-GCM on a data key in this process, measured at the start.',
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
    ...total,
    help: 'Requests rejected by admission control before they were parsed.',
  },
  latchkey_connections: {
    ...amount,
    help: 'Open connections on the TLS port.',
  },
  latchkey_connections_refused_total: {
    type: 'counter',
    help: 'Connections that were refused before a request.',
    labels: ['reason'],
    aggregator: sum,
  },
  latchkey_tls_handshake_duration_seconds: {
    type: 'histogram',
    help: 'Time from the TCP connection to the end of the TLS handshake.',
    labels: ['version', 'http', 'resumed'],
    aggregator: sum,
  },
  latchkey_tls_handshakes_total: {
    type: 'counter',
    help: 'TLS handshakes by version and key exchange group; X25519MLKEM768 is the hybrid one.',
    labels: ['version', 'group'],
    aggregator: sum,
  },
  latchkey_client_certificates_total: {
    type: 'counter',
    help: 'mTLS: connections with a good signature, and requests through terminators with mode observe. The result is OK, or why enforcing would refuse.',
    labels: ['result'],
    aggregator: sum,
  },
  latchkey_client_certificate_changes_total: {
    type: 'counter',
    help: 'mTLS: times a signed client showed a certificate with another issuer, purpose or name than before.',
    labels: ['field'],
    aggregator: sum,
  },
  latchkey_quota_requests_per_second: {
    type: 'gauge',
    help: 'Configured quota of a key store, for all its processes together.',
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_gate_refusing: {
    type: 'gauge',
    help: '1 while the gate refuses everything, with the reason.',
    labels: ['reason'],
    aggregator: 'max',
  },
  latchkey_gate_epoch: {
    type: 'gauge',
    help: 'Epoch of the rules that the gate enforces; the lowest of all workers.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_gate_switches: {
    type: 'gauge',
    help: 'Kill switches in force at the gate.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_kill_oldest_timestamp_seconds: {
    type: 'gauge',
    help: 'Time of the oldest kill of Decrypt in force; 0 if there is none.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_restore_requests: {
    type: 'gauge',
    help: 'Restore requests that wait for a second person, for their delay, or to be carried out.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_access_deadline_timestamp_seconds: {
    type: 'gauge',
    help: "Time at which a dead man's switch closes its key store unless it is renewed.",
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_gate_lease_age_seconds: {
    type: 'gauge',
    help: 'Time since the control store was last read; the highest of all workers.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_gate_lease_left_seconds: {
    type: 'gauge',
    help: 'Time until the lease ends and everything is refused; the lowest of all workers.',
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
    ...total,
    help: 'Answers that may have left after the lease under which they were released.',
  },
  latchkey_policies: {
    type: 'gauge',
    help: 'Policies in force (enforced) and policies being tried out (shadow).',
    labels: ['set'],
    aggregator: 'max',
  },
  latchkey_policy_revision: {
    type: 'gauge',
    help: 'Revision of the policies; 0 if there are none or they come from a folder.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_policy_decisions_total: {
    type: 'counter',
    help: 'Decisions of the policies; shadow with deny counts what would have been refused.',
    labels: ['set', 'decision'],
    aggregator: sum,
  },
  latchkey_policy_evaluations_total: {
    ...total,
    help: 'Decisions that were not in the cache and had to be evaluated.',
  },
  latchkey_audit_entries_total: {
    type: 'counter',
    help: 'Entries of the audit log, by outcome: written or lost.',
    labels: ['outcome'],
    aggregator: sum,
  },
  latchkey_audit_queued_entries: {
    ...amount,
    help: 'Entries of the audit log that wait for the disk.',
  },
  latchkey_audit_failing: {
    type: 'gauge',
    help: '1 if the last entries of the audit log could not be written.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_tripwire_trips_total: {
    type: 'counter',
    help: 'Broken rules of the tripwire, by action taken: log, throttle, kill, or failed for a kill that the store did not accept.',
    labels: ['rule', 'done'],
    aggregator: sum,
  },
  latchkey_tripwire_throttled: {
    type: 'gauge',
    help: 'Callers, keys and key stores that the tripwire has throttled within the last window.',
    labels: [],
    aggregator: 'max',
  },
  latchkey_tripwire_forgotten_total: {
    ...total,
    help: 'Callers and keys that the tripwire forgot because there were more than tripwire.maxSubjects.',
  },
  latchkey_lease_guard: {
    type: 'gauge',
    help: '1 if the kernel guards the end of the lease; the lowest of all workers.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_lease_guard_fired_total: {
    ...total,
    help: 'Times a process was suspended for longer than its lease and its connections were cut.',
  },
  latchkey_key_manager_state: {
    type: 'gauge',
    help: '1 for the state found by the last deep check.',
    labels: ['key_store', 'manager', 'state'],
    aggregator: 'max',
  },
  latchkey_key_uses_ratio: {
    type: 'gauge',
    help: 'Encryptions of the most used current version of a software key, as a share of its limit.',
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_token_sessions: {
    type: 'gauge',
    help: 'PKCS#11 sessions of a token.',
    labels: ['backend', 'token', 'state'],
    aggregator: sum,
  },
  latchkey_token_queued: { type: 'gauge', help: 'Calls waiting for a session.', ...ofToken },
  latchkey_token_circuit: {
    type: 'gauge',
    help: '1 for the current state of the circuit breaker.',
    labels: ['backend', 'token', 'state'],
    aggregator: 'max',
  },
  latchkey_token_hosts: {
    type: 'gauge',
    help: 'Worker processes that load the module of a token.',
    ...ofToken,
  },
  latchkey_token_host_restarts_total: {
    type: 'counter',
    help: 'Restarts of those worker processes.',
    ...ofToken,
  },
  latchkey_token_hedges_total: {
    type: 'counter',
    help: 'Operations also sent to another token, because this one took longer than `hedge.after`, by which answered first: first (this token), other or none.',
    labels: ['backend', 'token', 'winner'],
    aggregator: sum,
  },
  latchkey_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    help: 'Time at which a certificate expires.',
    labels: ['certificate'],
    aggregator: 'min',
  },
  latchkey_credential_age_seconds: {
    type: 'gauge',
    help: 'Time since the credential was created.',
    labels: ['key_store', 'access_key_id'],
    aggregator: 'max',
  },
  latchkey_credential_last_used_timestamp_seconds: {
    type: 'gauge',
    help: 'Time of the last request signed with the credential; 0: none since the start.',
    labels: ['key_store', 'access_key_id'],
    aggregator: 'max',
  },
  latchkey_webhook_messages_total: {
    type: 'counter',
    help: 'Messages to webhooks, by outcome: delivered, failed (an attempt that may be repeated) or dropped.',
    labels: ['webhook', 'outcome'],
    aggregator: sum,
  },
  latchkey_webhook_pending: {
    type: 'gauge',
    help: 'Events not yet sent to a webhook by any instance.',
    labels: ['webhook'],
    aggregator: 'max',
  },
  latchkey_log_blocks_dropped_total: {
    ...total,
    help: 'Blocks of log lines dropped because the reader was too slow.',
  },
  latchkey_info: {
    type: 'gauge',
    help: 'Always 1, with the versions of Latchkey and Node.js, and the id of the instance.',
    labels: ['version', 'node', 'instance_id'],
    aggregator: 'first',
  },
} as const satisfies Readonly<Record<string, MetricDescription>>

export type MetricName = keyof typeof METRICS
