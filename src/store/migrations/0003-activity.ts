/**
 * Schema version 3: key usage per caller, and credential usage. There is no `mac`, because nothing
 * depends on the counts and they are not evidence (docs/internals/store.md). `span_ms` is a minute
 * or an hour; each request is counted in both.
 */
// SPDX-License-Identifier: Apache-2.0

export const ACTIVITY = [
  `CREATE TABLE activity_subjects (
     subject TEXT PRIMARY KEY,
     key_store TEXT NOT NULL,
     operation TEXT NOT NULL,
     key_id TEXT,
     kms_operation TEXT,
     principal TEXT,
     kms_key_arn TEXT,
     via_service TEXT,
     vpc TEXT,
     vpce TEXT,
     outcome TEXT NOT NULL,
     is_overflow INTEGER NOT NULL,
     last_at BIGINT NOT NULL
   )`,
  `CREATE TABLE activity (
     span_ms BIGINT NOT NULL,
     starts_at BIGINT NOT NULL,
     subject TEXT NOT NULL,
     requests BIGINT NOT NULL,
     first_at BIGINT NOT NULL,
     last_at BIGINT NOT NULL,
     PRIMARY KEY (span_ms, starts_at, subject)
   )`,
  `CREATE TABLE credential_uses (
     access_key_id TEXT PRIMARY KEY,
     key_store TEXT NOT NULL,
     uses BIGINT NOT NULL,
     first_at BIGINT NOT NULL,
     last_at BIGINT NOT NULL
   )`,
] as const
