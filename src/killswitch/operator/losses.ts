/**
 * Compares a store with an older copy of it: what would be lost, or come back, if the copy took its
 * place.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import { loadStatus } from './status.ts'

/** Content of the store that the backup lacks. */
export interface Losses {
  /** Switches in force, by id. */
  readonly kills: readonly string[]
  /** Dead man's switches, by key store. */
  readonly deadManSwitches: readonly string[]
  /** Access key ids revoked since, which are still valid in the backup. */
  readonly revocations: readonly string[]
  /** Key store and key id of keys disabled since, which are still enabled in the backup. */
  readonly disabledKeys: readonly string[]
  /**
   * Key store, key id and version that the backup lacks; their ciphertexts could no longer be
   * decrypted.
   */
  readonly versions: readonly string[]
  /** The same for versions destroyed since, whose material the backup still has. */
  readonly destroyedVersions: readonly string[]
  /** Events after the last one of the backup, oldest first. */
  readonly events: readonly {
    readonly at: number
    readonly kind: string
    readonly operator: string
  }[]
}

async function summarize(store: Store) {
  const { keys, versions, credentials } = await store.contents()
  const { switches, deadManSwitches, events } = await loadStatus(store, Number.MAX_SAFE_INTEGER)
  const id = (row: (typeof keys)[number], ...names: readonly string[]) =>
    names.map((name) => String(column(row, name))).join(' ')
  return {
    kills: switches.map((one) => one.id),
    deadManSwitches: deadManSwitches.map(({ keyStore }) => keyStore),
    valid: credentials
      .filter((row) => row['revoked_at'] === null)
      .map((row) => id(row, 'access_key_id')),
    credentials: credentials.map((row) => id(row, 'access_key_id')),
    enabled: keys
      .filter((row) => row['status'] === 'ENABLED')
      .map((row) => id(row, 'key_store', 'key_id')),
    keys: keys.map((row) => id(row, 'key_store', 'key_id')),
    versions: versions.map((row) => id(row, 'key_store', 'key_id', 'version')),
    present: versions
      .filter((row) => row['destroyed_at'] === null)
      .map((row) => id(row, 'key_store', 'key_id', 'version')),
    events: [...events].reverse(),
  }
}

/** @throws StorageError BACKUP_INVALID for a copy of another store */
export async function findLosses(current: Store, backup: Store): Promise<Losses> {
  if (current.id !== backup.id) {
    throw new StorageError(
      'BACKUP_INVALID',
      'the backup belongs to another store than the existing one',
    )
  }
  const now = await summarize(current)
  const then = await summarize(backup)
  const without = (some: readonly string[], others: readonly string[]) => {
    const known = new Set(others)
    return some.filter((one) => !known.has(one))
  }
  const both = (some: readonly string[], others: readonly string[]) =>
    without(some, without(some, others))
  return {
    kills: without(now.kills, then.kills),
    deadManSwitches: without(now.deadManSwitches, then.deadManSwitches),
    revocations: without(both(then.valid, now.credentials), now.valid),
    disabledKeys: without(both(then.enabled, now.keys), now.enabled),
    versions: without(now.versions, then.versions),
    destroyedVersions: without(both(then.present, now.versions), now.present),
    events: now.events
      .slice(then.events.length)
      .map(({ at, kind, operator }) => ({ at, kind, operator })),
  }
}
