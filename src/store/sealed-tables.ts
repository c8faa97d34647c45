/** The tables whose rows carry a MAC, and the columns that the MAC covers. */
// SPDX-License-Identifier: Apache-2.0

export interface SealedTable {
  readonly name: string
  /** The primary key columns. */
  readonly key: readonly string[]
  /** All other columns except `changed_epoch` and `mac`. */
  readonly columns: readonly string[]
  /** SQL condition that excludes the table's rows that are sealed differently. */
  readonly except?: string
  /**
   * Whether deletions leave no record, because no server follows this table's changes row by row.
   */
  readonly leavesNoRecord?: true
}

/** The columns in MAC order, without `mac` itself. */
export function sealedColumns(table: SealedTable): readonly string[] {
  return [...table.key, ...table.columns, 'changed_epoch']
}

/** All records in `facts` except the epoch and the state, which are sealed differently. */
export const FACTS: SealedTable = {
  name: 'facts',
  key: ['name'],
  columns: ['value'],
  except: "name NOT IN ('epoch', 'state')",
}

/** Name of the record that holds the time and epoch of the last successful `store backup`. */
export const LAST_BACKUP = 'last_backup'

export const KEYS: SealedTable = {
  name: 'external_keys',
  key: ['key_store', 'key_id'],
  columns: ['status', 'can_encrypt', 'can_decrypt', 'current_version', 'created_at'],
}

export const KEY_VERSIONS: SealedTable = {
  name: 'key_versions',
  key: ['key_store', 'key_id', 'version'],
  columns: ['created_at', 'destroyed_at', 'reserved_uses', 'material'],
}

/** Activation and deactivation dates; a key without dates has no row. */
export const KEY_DATES: SealedTable = {
  name: 'key_dates',
  key: ['key_store', 'key_id'],
  columns: ['activate_at', 'deactivate_at'],
}

/** Check values that identify key versions on tokens. */
export const TOKEN_KEYS: SealedTable = {
  name: 'token_keys',
  key: ['key_store', 'key_id', 'version'],
  columns: ['check_value', 'seen_at', 'reason', 'operator'],
}

/** Key versions that are being retired or that a retirement has destroyed. */
export const RETIREMENTS: SealedTable = {
  name: 'retirements',
  key: ['key_store', 'key_id', 'version'],
  columns: [
    ...['reason', 'operator', 'identity', 'requested_at', 'quiet_for', 'wait_for'],
    ...['approved_by', 'approved_identity', 'approved_at', 'destroyed_at'],
  ],
}

export const CREDENTIALS: SealedTable = {
  name: 'credentials',
  key: ['access_key_id'],
  columns: ['key_store', 'secret', 'created_at', 'expires_at', 'revoked_at'],
}

export const SWITCHES: SealedTable = {
  name: 'switches',
  key: ['id'],
  columns: [
    ...['scope', 'key_store', 'key_id', 'criteria', 'direction'],
    ...['reason', 'operator', 'created_at', 'epoch', 'until_at'],
  ],
}

export const DEAD_MAN_SWITCHES: SealedTable = {
  name: 'dead_man_switches',
  key: ['key_store'],
  columns: ['ttl_ms', 'renewed_at', 'open_until', 'reason', 'operator'],
}

export const RESTORATIONS: SealedTable = {
  name: 'restorations',
  key: ['id'],
  columns: [
    ...['target', 'reason', 'operator', 'identity', 'requested_at', 'ready_at', 'expires_at'],
    ...['epoch', 'approved_by', 'approved_identity', 'approved_epoch'],
  ],
}

/** Policy documents, with one row per revision that affects them. Rows are only added. */
export const POLICIES: SealedTable = {
  name: 'policies',
  key: ['revision', 'name'],
  columns: ['mode', 'document', 'action', 'reason', 'operator', 'created_at'],
}

/**
 * The people who operate the fleet through the admin listener, and the groups that give them roles.
 */
export const OPERATORS: SealedTable = {
  name: 'operators',
  key: ['name'],
  columns: ['kind', 'role', 'key_stores', 'member_of', 'created_at', 'created_by'],
}

/** Hashed bearer tokens for the admin listener. */
export const ADMIN_TOKENS: SealedTable = {
  name: 'admin_tokens',
  key: ['id'],
  columns: ['operator', 'sha256', 'created_at', 'created_by', 'expires_at', 'revoked_at'],
}

/** Restore requests from schema versions before 6; no longer written. */
export const RESTORE_REQUESTS: SealedTable = {
  name: 'restore_requests',
  key: ['id'],
  columns: ['switch_ids', 'reason', 'operator', 'requested_at', 'ready_at', 'approved_by'],
}

/**
 * Records each deletion by its table and the JSON of the primary key, so that servers notice the
 * deletion.
 */
export const REMOVED_ROWS: SealedTable = {
  name: 'removed_rows',
  key: ['table_name', 'row_key'],
  columns: [],
}

/**
 * Serving processes, registered before their first lease and removed when their gate has closed
 * permanently.
 */
export const REGISTRATIONS: SealedTable = {
  name: 'registrations',
  key: ['id'],
  columns: ['grp', 'host', 'pid', 'worker', 'version', 'lease_ms', 'started_at', 'dismissed'],
  leavesNoRecord: true,
}

export const SEALED_TABLES: readonly SealedTable[] = [
  ...[FACTS, KEYS, KEY_VERSIONS, CREDENTIALS, SWITCHES, DEAD_MAN_SWITCHES, RESTORE_REQUESTS],
  ...[
    RESTORATIONS,
    REMOVED_ROWS,
    REGISTRATIONS,
    POLICIES,
    TOKEN_KEYS,
    KEY_DATES,
    RETIREMENTS,
    OPERATORS,
    ADMIN_TOKENS,
  ],
]
