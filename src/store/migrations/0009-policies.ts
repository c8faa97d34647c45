/**
 * Schema version 9: policies that decide who may use which key, with one row for each document that
 * a revision affects.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * `document` is null if the revision deletes the document or removes it from shadow mode. Rows are
 * only added.
 */
export const POLICIES = [
  `CREATE TABLE policies (
     revision BIGINT NOT NULL,
     name TEXT NOT NULL,
     mode TEXT NOT NULL,
     document TEXT,
     action TEXT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     created_at BIGINT NOT NULL,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (revision, name)
   )`,
  'CREATE INDEX policies_changed ON policies (changed_epoch)',
] as const
