/**
 * Schema version 7: each sealed row records the epoch of its last change, and each deletion leaves
 * a record.
 */
// SPDX-License-Identifier: Apache-2.0

const SEALED = [
  ...['facts', 'external_keys', 'key_versions', 'credentials'],
  ...['switches', 'dead_man_switches', 'restore_requests', 'restorations'],
]

/** store/upgrade.ts computes the MACs of existing rows, because that requires the store key. */
export const CHANGE_FEED: readonly string[] = [
  "ALTER TABLE facts ADD COLUMN mac TEXT NOT NULL DEFAULT ''",
  ...SEALED.flatMap((table) => [
    `ALTER TABLE ${table} ADD COLUMN changed_epoch BIGINT NOT NULL DEFAULT 0`,
    `CREATE INDEX ${table}_changed ON ${table} (changed_epoch)`,
  ]),
  `CREATE TABLE removed_rows (
     table_name TEXT NOT NULL,
     row_key TEXT NOT NULL,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (table_name, row_key)
   )`,
  'CREATE INDEX removed_rows_changed ON removed_rows (changed_epoch)',
]
