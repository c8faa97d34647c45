/** Schema version 1: named records about the store, keys and their versions, and credentials. */
// SPDX-License-Identifier: Apache-2.0

/**
 * `mac` authenticates all other columns of its row (see sealed-rows.ts). Later migrations add
 * columns with defaults, so that instances of the previous release can keep using the tables.
 */
export const INITIAL = [
  `CREATE TABLE facts (
     name TEXT PRIMARY KEY,
     value TEXT NOT NULL
   )`,
  `CREATE TABLE external_keys (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     status TEXT NOT NULL,
     can_encrypt INTEGER NOT NULL,
     can_decrypt INTEGER NOT NULL,
     current_version INTEGER NOT NULL,
     created_at BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id)
   )`,
  `CREATE TABLE key_versions (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     version BIGINT NOT NULL,
     created_at BIGINT NOT NULL,
     destroyed_at BIGINT,
     reserved_uses BIGINT NOT NULL,
     material TEXT,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id, version),
     FOREIGN KEY (key_store, key_id) REFERENCES external_keys (key_store, key_id)
   )`,
  `CREATE TABLE credentials (
     access_key_id TEXT PRIMARY KEY,
     key_store TEXT NOT NULL,
     secret TEXT,
     created_at BIGINT NOT NULL,
     expires_at BIGINT,
     revoked_at BIGINT,
     mac TEXT NOT NULL
   )`,
] as const
