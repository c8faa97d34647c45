/**
 * Compares a store with an older copy: finds what would be lost, or would come back, if the copy
 * replaced the store.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import { KEY_DATES, RETIREMENTS } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { loadStatus } from './status.ts'

/** Contents of the store that the backup lacks. */
export interface Losses {
  /** Ids of switches in force. */
  readonly kills: readonly string[]
  /** Key stores that have a dead man's switch. */
  readonly deadManSwitches: readonly string[]
  /** Access key ids that were revoked after the backup and are still valid in it. */
  readonly revocations: readonly string[]
  /**
   * Key store and key id of keys that were disabled after the backup and are still enabled in it.
   */
  readonly disabledKeys: readonly string[]
  /** Key store and key id of keys whose activation or deactivation date differs in the backup. */
  readonly changedDates: readonly string[]
  /**
   * Key store, key id and number of each version whose retirement is not approved in the backup.
   */
  readonly retirements: readonly string[]
  /**
   * Key store, key id and number of each version that the backup lacks; its ciphertexts could no
   * longer be decrypted.
   */
  readonly versions: readonly string[]
  /**
   * Key store, key id and number of each version that was destroyed after the backup and whose
   * material the backup still has.
   */
  readonly destroyedVersions: readonly string[]
  /** Events later than the last event in the backup, oldest first. */
  readonly events: readonly {
    readonly at: number
    readonly kind: string
    readonly operator: string
  }[]
}

async function summarize(store: Store) {
  const { keys, versions, credentials } = await store.contents()
  const [dates = [], retirements = []] = await store.tables(KEY_DATES, RETIREMENTS)
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
    dates: new Map(
      dates.map((row) => [id(row, 'key_store', 'key_id'), id(row, 'activate_at', 'deactivate_at')]),
    ),
    retired: retirements
      .filter((row) => row['approved_at'] !== null)
      .map((row) => id(row, 'key_store', 'key_id', 'version')),
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
      'the backup belongs to a different store from the existing one',
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
    changedDates: without(
      [...new Set([...now.dates.keys(), ...then.dates.keys()])].filter(
        (key) => now.dates.get(key) !== then.dates.get(key),
      ),
      without(now.keys, then.keys),
    ),
    retirements: without(now.retired, then.retired),
    versions: without(now.versions, then.versions),
    destroyedVersions: without(both(then.present, now.versions), now.present),
    events: now.events
      .slice(then.events.length)
      .map(({ at, kind, operator }) => ({ at, kind, operator })),
  }
}
