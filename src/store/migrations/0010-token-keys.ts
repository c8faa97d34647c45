/** Schema version 10: check values that identify key versions on tokens. */
// SPDX-License-Identifier: Apache-2.0

/**
 * A row is written when a version is first seen on a token. `keys trust` replaces it and sets
 * `reason` and `operator` (keys/pkcs11/trusted-keys.ts).
 */
export const TOKEN_KEYS = [
  `CREATE TABLE token_keys (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     version BIGINT NOT NULL,
     check_value TEXT NOT NULL,
     seen_at BIGINT NOT NULL,
     reason TEXT,
     operator TEXT,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id, version)
   )`,
  'CREATE INDEX token_keys_changed ON token_keys (changed_epoch)',
] as const
