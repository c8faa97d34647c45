/** Schema version 13: operators, operator groups, and their tokens for the admin listener. */
// SPDX-License-Identifier: Apache-2.0

/**
 * `kind` is `person` or `group`. `key_stores` and `member_of` are JSON arrays of names. Token usage
 * is not sealed, because no decision depends on it.
 */
export const OPERATORS = [
  `CREATE TABLE operators (
     name TEXT NOT NULL,
     kind TEXT NOT NULL,
     role TEXT,
     key_stores TEXT,
     member_of TEXT NOT NULL,
     created_at BIGINT NOT NULL,
     created_by TEXT NOT NULL,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (name)
   )`,
  'CREATE INDEX operators_changed ON operators (changed_epoch)',
  `CREATE TABLE admin_tokens (
     id TEXT NOT NULL,
     operator TEXT NOT NULL,
     sha256 TEXT NOT NULL,
     created_at BIGINT NOT NULL,
     created_by TEXT NOT NULL,
     expires_at BIGINT,
     revoked_at BIGINT,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (id)
   )`,
  'CREATE INDEX admin_tokens_changed ON admin_tokens (changed_epoch)',
  `CREATE TABLE admin_token_uses (
     id TEXT NOT NULL,
     uses BIGINT NOT NULL,
     last_at BIGINT NOT NULL,
     PRIMARY KEY (id)
   )`,
] as const
