/** Latchkey's own metrics, in the order of docs/metrics.md. A test compares both lists. */
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
const worst = { type: 'gauge', labels: [], aggregator: 'max' } as const
const amount = { type: 'gauge', labels: [], aggregator: sum } as const
const ofToken = { labels: ['backend', 'token'], aggregator: sum } as const

export const METRICS = {
  latchkey_request_duration_seconds: {
    type: 'histogram',
    help: 'Time from the first byte of a request to its response.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_stage_duration_seconds: {
    type: 'histogram',
    help: 'Time that a request spends in each stage; the stages add up to the request duration.',
    labels: [...ofRequest, 'stage'],
    aggregator: sum,
  },
  latchkey_added_latency_seconds: {
    type: 'histogram',
    help: 'Time that Latchkey adds to a successful request, compared with the same AES-GCM operation in this process.',
    labels: ofRequest,
    aggregator: sum,
  },
  latchkey_baseline_seconds: {
    type: 'gauge',
    help: 'Time that AES-GCM on a data key takes in this process, measured at startup.',
    labels: ['operation'],
    aggregator: 'max',
  },
  latchkey_requests_total: {
    type: 'counter',
    help: 'Requests that received a response.',
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
    help: 'Connections that were refused before they carried a request.',
    labels: ['reason'],
    aggregator: sum,
  },
  latchkey_tls_handshake_duration_seconds: {
    type: 'histogram',
    help: 'Time from accepting the TCP connection to completing the TLS handshake.',
    labels: ['version', 'http', 'resumed'],
    aggregator: sum,
  },
  latchkey_tls_handshakes_total: {
    type: 'counter',
    help: 'TLS handshakes by version and key exchange group; X25519MLKEM768 is the post-quantum hybrid group.',
    labels: ['version', 'group'],
    aggregator: sum,
  },
  latchkey_client_certificates_total: {
    type: 'counter',
    help: 'mTLS: connections with a valid signature and, in observe mode, requests through TLS terminators. The result is OK, or the reason for which enforce mode would refuse the client.',
    labels: ['result'],
    aggregator: sum,
  },
  latchkey_client_certificate_changes_total: {
    type: 'counter',
    help: 'mTLS: times a client with a valid signature presented a certificate whose issuer, purpose or name had changed.',
    labels: ['field'],
    aggregator: sum,
  },
  latchkey_quota_requests_per_second: {
    type: 'gauge',
    help: 'Configured quota of a key store, shared by all worker processes.',
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_gate_refusing: {
    type: 'gauge',
    help: '1 while the gate refuses all requests; the label gives the reason.',
    labels: ['reason'],
    aggregator: 'max',
  },
  latchkey_gate_epoch: {
    type: 'gauge',
    help: 'Epoch of the rules that the gate enforces; minimum across workers.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_gate_switches: {
    ...worst,
    help: 'Kill switches that the gate enforces.',
  },
  latchkey_kill_oldest_timestamp_seconds: {
    ...worst,
    help: 'Time of the oldest kill in force that stops Decrypt; 0 if there is none.',
  },
  latchkey_restore_requests: {
    ...worst,
    help: 'Restore requests waiting for approval, for their delay to pass, or to be carried out.',
  },
  latchkey_access_deadline_timestamp_seconds: {
    type: 'gauge',
    help: "Time at which a dead man's switch closes its key store unless it is renewed.",
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_gate_lease_age_seconds: {
    ...worst,
    help: 'Time since the control store was last read; maximum across workers.',
  },
  latchkey_gate_lease_left_seconds: {
    type: 'gauge',
    help: 'Time until the lease expires and all requests are refused; minimum across workers.',
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
    help: 'Responses that may have been sent after the lease expired.',
  },
  latchkey_policies: {
    type: 'gauge',
    help: 'Number of policies in force (enforced) and in shadow mode (shadow).',
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
    help: 'Policy decisions. In the shadow set, deny counts requests that would have been refused.',
    labels: ['set', 'decision'],
    aggregator: sum,
  },
  latchkey_policy_evaluations_total: {
    ...total,
    help: 'Policy decisions that were not cached and had to be evaluated.',
  },
  latchkey_audit_entries_total: {
    type: 'counter',
    help: 'Audit log entries by outcome: written or lost.',
    labels: ['outcome'],
    aggregator: sum,
  },
  latchkey_audit_queued_entries: {
    ...amount,
    help: 'Audit log entries waiting to be written to disk.',
  },
  latchkey_audit_failing: {
    ...worst,
    help: '1 if the most recent audit log entries could not be written.',
  },
  latchkey_audit_witness_state: {
    type: 'gauge',
    help: '1 for the most recent result of each control log witness: cosigns, fails, or refuses (the witness has seen a different history).',
    labels: ['witness', 'state'],
    aggregator: 'max',
  },
  latchkey_audit_witness_quorum: {
    type: 'gauge',
    help: '1 if the last checkpoint of the control log has the cosignatures that the witness policy requires.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_tripwire_trips_total: {
    type: 'counter',
    help: 'Tripwire rule violations by action taken: log, throttle, kill, or failed (the store rejected the kill).',
    labels: ['rule', 'done'],
    aggregator: sum,
  },
  latchkey_tripwire_throttled: {
    ...worst,
    help: 'Callers, keys and key stores that the tripwire has throttled within the last window.',
  },
  latchkey_tripwire_forgotten_total: {
    ...total,
    help: 'Callers and keys that the tripwire stopped tracking because there were more than tripwire.maxSubjects.',
  },
  latchkey_lease_guard: {
    type: 'gauge',
    help: '1 if the kernel enforces lease expiry; minimum across workers.',
    labels: [],
    aggregator: 'min',
  },
  latchkey_lease_guard_fired_total: {
    ...total,
    help: 'Times a process was suspended for longer than its lease and its connections were cut.',
  },
  latchkey_key_manager_state: {
    type: 'gauge',
    help: '1 for the state that the key manager had in the most recent deep health check.',
    labels: ['key_store', 'manager', 'state'],
    aggregator: 'max',
  },
  latchkey_key_uses_ratio: {
    type: 'gauge',
    help: "Fraction of the encryption limit reached by the key store's most used current software key version.",
    labels: ['key_store'],
    aggregator: 'max',
  },
  latchkey_token_sessions: {
    type: 'gauge',
    help: 'PKCS#11 sessions of a token.',
    labels: ['backend', 'token', 'state'],
    aggregator: sum,
  },
  latchkey_token_queued: { type: 'gauge', help: 'Calls waiting for a token session.', ...ofToken },
  latchkey_token_circuit: {
    type: 'gauge',
    help: "1 for the current state of the token's circuit breaker.",
    labels: ['backend', 'token', 'state'],
    aggregator: 'max',
  },
  latchkey_token_hosts: {
    type: 'gauge',
    help: 'Worker processes that have loaded a token module.',
    ...ofToken,
  },
  latchkey_token_host_restarts_total: {
    type: 'counter',
    help: 'Restarts of worker processes that load a token module.',
    ...ofToken,
  },
  latchkey_token_hedges_total: {
    type: 'counter',
    help: 'Operations also sent to another token because this token took longer than `hedge.after`. The label gives the token that responded first: first (this token), other or none.',
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
    help: 'Time of the last request signed with the credential; 0 if there has been none since the process started.',
    labels: ['key_store', 'access_key_id'],
    aggregator: 'max',
  },
  latchkey_webhook_messages_total: {
    type: 'counter',
    help: 'Webhook messages by outcome: delivered, failed (the attempt may be retried) or dropped.',
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
    help: 'Always 1; the labels give the versions of Latchkey and Node.js, and the instance id.',
    labels: ['version', 'node', 'instance_id'],
    aggregator: 'first',
  },
} as const satisfies Readonly<Record<string, MetricDescription>>

export type MetricName = keyof typeof METRICS
