/**
 * Schema version 14: when and by whom key versions were used, and which versions are being retired.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * `version_uses` and `ledger_writers` have no `mac`, like the usage counts. Tampering can make a
 * version look unused, but the waiting period of a retirement still reveals the version's users.
 * `retirements` is sealed.
 */
export const VERSION_LEDGER = [
  `CREATE TABLE version_uses (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     version BIGINT NOT NULL,
     kind TEXT NOT NULL,
     caller TEXT NOT NULL,
     uses BIGINT NOT NULL,
     first_at BIGINT NOT NULL,
     last_at BIGINT NOT NULL,
     PRIMARY KEY (key_store, key_id, version, kind, caller)
   )`,
  `CREATE TABLE ledger_writers (
     id TEXT PRIMARY KEY,
     started_at BIGINT NOT NULL,
     flushed_at BIGINT NOT NULL,
     ended_at BIGINT
   )`,
  `CREATE TABLE retirements (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     version BIGINT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     identity TEXT NOT NULL,
     requested_at BIGINT NOT NULL,
     quiet_for BIGINT NOT NULL,
     wait_for BIGINT NOT NULL,
     approved_by TEXT,
     approved_identity TEXT,
     approved_at BIGINT,
     destroyed_at BIGINT,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id, version)
   )`,
  'CREATE INDEX retirements_changed ON retirements (changed_epoch)',
] as const
