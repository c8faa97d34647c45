/** Key versions in retirement, as sealed rows in the store. */
// SPDX-License-Identifier: Apache-2.0
import type { Actor } from '../killswitch/model.ts'
import type { Reader, Row } from '../store/database.ts'
import { column, loadTable } from '../store/sealed-rows.ts'
import { RETIREMENTS } from '../store/sealed-tables.ts'
import { readState, type SealedState } from '../store/sealed-state.ts'
import { deleteRow, putRow, type SealedTransaction } from '../store/sealed-transaction.ts'
import type { Sealing } from '../store/sealing.ts'

export interface VersionName {
  readonly keyStore: string
  readonly keyId: string
  readonly version: number
}

/** Times are wall-clock times in milliseconds since the Unix epoch. */
export interface Retirement extends VersionName {
  readonly reason: string
  readonly requestedBy: Actor
  readonly requestedAt: number
  /** Required time without a Decrypt. */
  readonly quietForMs: number
  /** Waiting period before the version may be destroyed, during which it refuses Decrypt. */
  readonly waitForMs: number
  /** Approval by a second person. The version refuses Decrypt from `at` on. */
  readonly approval?: Actor & { readonly at: number }
  /**
   * Time at which the destruction began. From then on, the retirement cannot be cancelled. The
   * destruction is complete once the version has a certificate.
   */
  readonly destroyingSince?: number
}

/** The casts are safe: the row's MAC proves that `putRetirement` wrote it. */
export function parseRetirement(row: Row): Retirement {
  const text = (name: string) => String(column(row, name))
  const number = (name: string) => Number(column(row, name))
  const isApproved = column(row, 'approved_at') !== null
  return {
    ...{ keyStore: text('key_store'), keyId: text('key_id'), version: number('version') },
    reason: text('reason'),
    requestedBy: { operator: text('operator'), identity: text('identity') },
    requestedAt: number('requested_at'),
    quietForMs: number('quiet_for'),
    waitForMs: number('wait_for'),
    ...(isApproved && {
      approval: {
        operator: text('approved_by'),
        identity: text('approved_identity'),
        at: number('approved_at'),
      },
    }),
    ...(column(row, 'destroyed_at') === null ? {} : { destroyingSince: number('destroyed_at') }),
  }
}

function keyOf({ keyStore, keyId, version }: VersionName): Row {
  return { key_store: keyStore, key_id: keyId, version }
}

/** Describes a version in one line for people. */
export function describeVersion({ keyStore, keyId, version }: VersionName): string {
  return `version ${String(version)} of ${keyStore}/${keyId}`
}

export function isSameVersion(a: VersionName, b: VersionName): boolean {
  return a.keyStore === b.keyStore && a.keyId === b.keyId && a.version === b.version
}

/** @throws StorageError STORE_TAMPERED */
export async function loadRetirements(
  reader: Reader,
  sealing: Sealing,
  state?: Pick<SealedState, 'tables'>,
): Promise<readonly Retirement[]> {
  const of = state ?? (await readState(reader, sealing))
  return (await loadTable(reader, sealing, RETIREMENTS, of)).map(parseRetirement)
}

export async function putRetirement(
  transaction: SealedTransaction,
  sealing: Sealing,
  one: Retirement,
): Promise<void> {
  await putRow(transaction, sealing, RETIREMENTS, {
    ...keyOf(one),
    reason: one.reason,
    operator: one.requestedBy.operator,
    identity: one.requestedBy.identity,
    requested_at: one.requestedAt,
    quiet_for: one.quietForMs,
    wait_for: one.waitForMs,
    approved_by: one.approval?.operator ?? null,
    approved_identity: one.approval?.identity ?? null,
    approved_at: one.approval?.at ?? null,
    destroyed_at: one.destroyingSince ?? null,
  })
}

export async function deleteRetirement(
  transaction: SealedTransaction,
  sealing: Sealing,
  name: VersionName,
): Promise<void> {
  await deleteRow(transaction, sealing, RETIREMENTS, keyOf(name))
}
