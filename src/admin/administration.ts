/**
 * Interfaces through which operators manage keys, credentials and policies. The control store
 * implements them on its host, and the admin listener's client implements them remotely.
 */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreName } from '../core/ids.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import type { Revocation } from '../killswitch/operator/waiting-fleet.ts'
import type { PolicyState } from '../policy/authorizer.ts'
import type { OperatorDirectory } from './operators/directory.ts'
import type { Documents } from '../policy/policy-set.ts'
import type { Author, PlannedChange, PolicyChange, PolicyRevision } from '../policy/policy-table.ts'
import type { CredentialTable } from '../sigv4/credential-table.ts'
import type { CredentialUse } from '../usage/recorder.ts'
import type { Activity, Period } from '../usage/usage-table.ts'

export interface KeyStoreAdministration {
  keys(keyStore: KeyStoreName): KeyAdministration
  readonly credentials: Pick<CredentialTable, 'create' | 'list' | 'expire' | 'revoke'>
  /**
   * Returns fleet-wide usage by access key id. Unused credentials are absent from the map.
   * @param accessKeyIds credentials to look up (default: all)
   */
  credentialUses(
    accessKeyIds?: readonly string[],
  ): Promise<ReadonlyMap<string, Pick<CredentialUse, 'uses' | 'lastAt'>>>
  /** Returns one sentence for each piece of information that previous calls could not obtain. */
  warnings(): readonly string[]
  close(): Promise<void>
}

/** The administration as the admin listener uses it, with single credentials and pages of the list. */
export type ServedAdministration = Omit<KeyStoreAdministration, 'close'> & {
  readonly credentials: Pick<CredentialTable, 'page' | 'find'>
}

export interface ApplyOptions {
  readonly wait: boolean
  /** Timeout for the wait, in milliseconds (default: 30 s plus the lease). */
  readonly patienceMs?: number
  /** Called once the change is durable, with its epoch. */
  readonly onWritten?: (epoch: number) => void
}

export interface AppliedChange {
  readonly epoch: number
  /** Absent if the caller did not wait. */
  readonly revocation?: Pick<Revocation, 'instances' | 'elapsedMs'>
}

export interface PolicyAdministration {
  /** Reads the policy directory if one is configured, otherwise the store. */
  state(): Promise<PolicyState>
  /**
   * The functions below can throw the same errors.
   * @throws PolicyError POLICY_NOT_FOUND, POLICY_UNCHANGED, or POLICY_IN_FILES
   */
  plan(change: PolicyChange): Promise<PlannedChange>
  /**
   * Writes a planned change and waits until every instance has applied it or can no longer hold a
   * lease.
   * @throws PolicyError POLICY_CHANGED, POLICY_NOT_EVERYWHERE
   */
  apply(plan: PlannedChange, by: Author, options: ApplyOptions): Promise<AppliedChange>
  /** Returns the revisions, newest first. */
  history(): Promise<readonly PolicyRevision[]>
  at(revision: number): Promise<Documents>
  /** Returns the usage recorded since a wall time in milliseconds since the Unix epoch. */
  usage(since: number): Promise<{ readonly usage: readonly Activity[]; readonly period: Period }>
  close(): Promise<void>
}

/** Manages operators and their tokens, in the control store or through an admin listener. */
export type OperatorAdministration = OperatorDirectory & { close(): Promise<void> }
