/** Metrics of the audit log and of the witnesses of the control log. */
// SPDX-License-Identifier: Apache-2.0
import { type Collectors, value } from './registry.ts'
import type { MetricValue } from './request-metrics.ts'

export interface AuditState {
  readonly written: number
  readonly lost: number
  readonly queued: number
  /** The reason the last entries could not be written. */
  readonly failure: string | undefined
}

export interface WitnessState {
  /** Whether the control log's last checkpoint has the cosignatures that the policy requires. */
  readonly isQuorum: boolean
  readonly witnesses: readonly {
    readonly name: string
    readonly state: 'cosigns' | 'fails' | 'refuses'
  }[]
}

export function ofAudit(audit: () => AuditState | undefined): Collectors {
  const ofState = (toValues: (state: AuditState) => readonly MetricValue[]) => () => {
    const state = audit()
    return state === undefined ? [] : toValues(state)
  }
  return {
    latchkey_audit_entries_total: ofState(({ written, lost }) => [
      value(written, { outcome: 'written' }),
      value(lost, { outcome: 'lost' }),
    ]),
    latchkey_audit_queued_entries: ofState(({ queued }) => [value(queued)]),
    latchkey_audit_failing: ofState(({ failure }) => [value(failure === undefined ? 0 : 1)]),
  }
}

/**
 * Returns the metrics of the witnesses. With worker processes, the primary asks the witnesses, and
 * it has no other metrics.
 */
export function ofWitnesses(witnesses: () => WitnessState | undefined): Collectors {
  return {
    latchkey_audit_witness_state: () =>
      (witnesses()?.witnesses ?? []).map(({ name, state }) => value(1, { witness: name, state })),
    latchkey_audit_witness_quorum: () => {
      const state = witnesses()
      return state === undefined ? [] : [value(state.isQuorum ? 1 : 0)]
    },
  }
}
