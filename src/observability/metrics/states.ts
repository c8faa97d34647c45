/** Metrics that are read at scrape time: the states of the components. */
// SPDX-License-Identifier: Apache-2.0
import { type AuditState, ofAudit, ofWitnesses, type WitnessState } from './audit-states.ts'
import { type Collectors, value } from './registry.ts'
import type { MetricValue } from './request-metrics.ts'

export interface GateState {
  readonly state: 'open' | 'refusing'
  readonly reason?: string
  readonly epoch: number
  readonly switches: number
  readonly leaseAgeMs: number
  readonly leaseLeftMs: number
  readonly lateAnswers: number
  readonly refusals: Readonly<Partial<Record<string, number>>>
}

export interface TripwireState {
  /** Number of trips, by rule and by action taken. */
  readonly trips: readonly {
    readonly rule: string
    readonly done: string
    readonly count: number
  }[]
  readonly throttled: number
  readonly forgotten: number
}

export interface PoliciesState {
  readonly revision: number
  readonly enforced: number
  readonly shadow: number
  readonly decisions: Readonly<Record<string, number>>
  readonly evaluations: number
}

export interface LeaseGuardState {
  readonly isOn: boolean
  readonly firings: number
}

export interface TokenState {
  readonly backend: string
  readonly id: string
  readonly circuit: string
  readonly sessions: { readonly open: number; readonly busy: number; readonly max: number }
  readonly queued: number
  readonly hosts: number
  readonly restarts: number
  /** Hedged operations (also sent to a second token), by the token that responded first. */
  readonly hedges: { readonly first: number; readonly other: number; readonly none: number }
}

export interface ControlState {
  /** Milliseconds since the Unix epoch, like `openUntil`. */
  readonly oldestKillAt?: number
  readonly restoreRequests: number
  readonly deadlines: readonly { readonly keyStore: string; readonly openUntil: number }[]
}

export interface WebhookState {
  readonly name: string
  readonly delivered: number
  readonly failed: number
  readonly dropped: number
  /** Undefined while the store cannot be read. */
  readonly pending: number | undefined
}

export interface CredentialState {
  readonly keyStore: string
  readonly accessKeyId: string
  /** Milliseconds since the Unix epoch, like `lastUsedAt`. */
  readonly createdAt?: number | undefined
  readonly lastUsedAt?: number
}

export interface StateSources {
  readonly now: () => number
  readonly version: string
  readonly node: string
  readonly instanceId: string
  readonly baselineMs: Readonly<Record<string, number>>
  readonly quotas: () => readonly {
    readonly keyStore: string
    readonly requestsPerSecond: number
  }[]
  readonly connections: () => number
  readonly gate: () => GateState
  /** Undefined in processes that do not watch the control store. */
  readonly control: () => ControlState | undefined
  /** Fraction of the key-use limit consumed so far, by key store. */
  readonly keyUses: () => ReadonlyMap<string, number>
  readonly policies: () => PoliciesState
  /** Undefined if the audit log is off. */
  readonly audit: () => AuditState | undefined
  /** Undefined in processes that ask no witnesses. */
  readonly witnesses: () => WitnessState | undefined
  /** Undefined if the tripwire has no rules. */
  readonly tripwire: () => TripwireState | undefined
  readonly leaseGuard: () => LeaseGuardState
  readonly managers: () => readonly {
    readonly keyStore: string
    readonly id: string
    readonly status: string
  }[]
  readonly tokens: () => readonly TokenState[]
  /** Expiry of each certificate, in milliseconds since the Unix epoch. */
  readonly certificates: () => Readonly<Record<string, number>>
  readonly credentials: () => readonly CredentialState[]
  readonly webhooks: () => readonly WebhookState[]
  readonly droppedLogBlocks: () => number
}

export function createStateCollectors(sources: StateSources): Collectors {
  return {
    ...ofGate(sources.gate),
    ...ofControl(sources.control),
    latchkey_key_uses_ratio: () =>
      [...sources.keyUses()].map(([keyStore, share]) => value(share, { key_store: keyStore })),
    latchkey_lease_guard: () => [value(sources.leaseGuard().isOn ? 1 : 0)],
    latchkey_lease_guard_fired_total: () => [value(sources.leaseGuard().firings)],
    ...ofPolicies(sources.policies),
    ...ofAudit(sources.audit),
    ...ofWitnesses(sources.witnesses),
    ...ofTripwire(sources.tripwire),
    ...ofTokens(sources.tokens),
    ...ofCredentials(sources),
    ...ofWebhooks(sources.webhooks),
    latchkey_baseline_seconds: () =>
      Object.entries(sources.baselineMs).map(([operation, ms]) => value(ms / 1000, { operation })),
    latchkey_connections: () => [value(sources.connections())],
    latchkey_quota_requests_per_second: () =>
      sources
        .quotas()
        .map((quota) => value(quota.requestsPerSecond, { key_store: quota.keyStore })),
    latchkey_key_manager_state: () =>
      sources
        .managers()
        .map(({ keyStore, id, status }) =>
          value(1, { key_store: keyStore, manager: id, state: status }),
        ),
    latchkey_certificate_expiry_timestamp_seconds: () =>
      Object.entries(sources.certificates()).map(([certificate, endsAt]) =>
        value(endsAt / 1000, { certificate }),
      ),
    latchkey_log_blocks_dropped_total: () => [value(sources.droppedLogBlocks())],
    latchkey_info: () => {
      const { version, node, instanceId } = sources
      return [value(1, { version, node, instance_id: instanceId })]
    },
  }
}

function ofGate(gate: () => GateState): Collectors {
  return {
    latchkey_gate_refusing: () => {
      const { state, reason = '' } = gate()
      return [value(state === 'refusing' ? 1 : 0, { reason })]
    },
    latchkey_gate_epoch: () => [value(gate().epoch)],
    latchkey_gate_switches: () => [value(gate().switches)],
    latchkey_gate_lease_age_seconds: () => [value(gate().leaseAgeMs / 1000)],
    latchkey_gate_lease_left_seconds: () => [value(gate().leaseLeftMs / 1000)],
    latchkey_gate_late_answers_total: () => [value(gate().lateAnswers)],
    latchkey_gate_refusals_total: () =>
      Object.entries(gate().refusals).map(([reason, count]) => value(count ?? 0, { reason })),
  }
}

function ofControl(control: () => ControlState | undefined): Collectors {
  const each = (toValues: (state: ControlState) => readonly MetricValue[]) => () => {
    const state = control()
    return state === undefined ? [] : toValues(state)
  }
  return {
    latchkey_kill_oldest_timestamp_seconds: each(({ oldestKillAt = 0 }) => [
      value(oldestKillAt / 1000),
    ]),
    latchkey_restore_requests: each(({ restoreRequests }) => [value(restoreRequests)]),
    latchkey_access_deadline_timestamp_seconds: each(({ deadlines }) =>
      deadlines.map(({ keyStore, openUntil }) => value(openUntil / 1000, { key_store: keyStore })),
    ),
  }
}

function ofTripwire(tripwire: () => TripwireState | undefined): Collectors {
  const one = (read: (state: TripwireState) => number) => () => {
    const state = tripwire()
    return state === undefined ? [] : [value(read(state))]
  }
  return {
    latchkey_tripwire_trips_total: () =>
      (tripwire()?.trips ?? []).map(({ rule, done, count }) => value(count, { rule, done })),
    latchkey_tripwire_throttled: one(({ throttled }) => throttled),
    latchkey_tripwire_forgotten_total: one(({ forgotten }) => forgotten),
  }
}

function ofPolicies(policies: () => PoliciesState): Collectors {
  return {
    latchkey_policies: () => {
      const { enforced, shadow } = policies()
      return [value(enforced, { set: 'enforced' }), value(shadow, { set: 'shadow' })]
    },
    latchkey_policy_revision: () => [value(policies().revision)],
    latchkey_policy_decisions_total: () =>
      Object.entries(policies().decisions).map(([name, count]) => {
        const [set = '', decision = ''] = name.split(' ')
        return value(count, { set, decision })
      }),
    latchkey_policy_evaluations_total: () => [value(policies().evaluations)],
  }
}

function ofTokens(tokens: () => readonly TokenState[]): Collectors {
  const each = (toValues: (token: TokenState, labels: Record<string, string>) => MetricValue[]) =>
    tokens().flatMap((token) => toValues(token, { backend: token.backend, token: token.id }))
  return {
    latchkey_token_sessions: () =>
      each(({ sessions }, labels) =>
        Object.entries(sessions).map(([state, count]) => value(count, { ...labels, state })),
      ),
    latchkey_token_queued: () => each((token, labels) => [value(token.queued, labels)]),
    latchkey_token_circuit: () =>
      each((token, labels) => [value(1, { ...labels, state: token.circuit })]),
    latchkey_token_hosts: () => each((token, labels) => [value(token.hosts, labels)]),
    latchkey_token_host_restarts_total: () =>
      each((token, labels) => [value(token.restarts, labels)]),
    latchkey_token_hedges_total: () =>
      each(({ hedges }, labels) =>
        Object.entries(hedges).map(([winner, count]) => value(count, { ...labels, winner })),
      ),
  }
}

function ofCredentials({ credentials, now }: StateSources): Collectors {
  const each = (toNumber: (credential: CredentialState) => number) =>
    credentials().map((one) =>
      value(toNumber(one), { key_store: one.keyStore, access_key_id: one.accessKeyId }),
    )
  return {
    latchkey_credential_age_seconds: () =>
      each(({ createdAt = now() }) => (now() - createdAt) / 1000),
    latchkey_credential_last_used_timestamp_seconds: () =>
      each(({ lastUsedAt = 0 }) => lastUsedAt / 1000),
  }
}

function ofWebhooks(webhooks: () => readonly WebhookState[]): Collectors {
  return {
    latchkey_webhook_messages_total: () =>
      webhooks().flatMap(({ name, ...counts }) =>
        (['delivered', 'failed', 'dropped'] as const).map((outcome) =>
          value(counts[outcome], { webhook: name, outcome }),
        ),
      ),
    latchkey_webhook_pending: () =>
      webhooks().flatMap(({ name, pending }) =>
        pending === undefined ? [] : [value(pending, { webhook: name })],
      ),
  }
}
