/** Schema version 4: encryption counts per key version, in separate rows. */
// SPDX-License-Identifier: Apache-2.0

/**
 * `reserved_uses` only grows. A version without a row has reserved only the uses recorded in its
 * `key_versions` row (keys/software/use-reservations.ts).
 */
export const KEY_USES = [
  `CREATE TABLE key_uses (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     version BIGINT NOT NULL,
     reserved_uses BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id, version)
   )`,
] as const
