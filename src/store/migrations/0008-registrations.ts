/** Schema version 8: sealed instance registrations, and a MAC for each heartbeat. */
// SPDX-License-Identifier: Apache-2.0

/**
 * `dismissed` is 1 while other instances consider this one dead (killswitch/instance/instances.ts).
 * `instances` holds the status that each instance reports four times a second.
 */
export const REGISTRATIONS = [
  `CREATE TABLE registrations (
     id TEXT PRIMARY KEY,
     grp TEXT NOT NULL,
     host TEXT NOT NULL,
     pid BIGINT NOT NULL,
     worker BIGINT NOT NULL,
     version TEXT NOT NULL,
     lease_ms BIGINT NOT NULL,
     started_at BIGINT NOT NULL,
     dismissed BIGINT NOT NULL,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL
   )`,
  "ALTER TABLE instances ADD COLUMN acked_tag TEXT NOT NULL DEFAULT ''",
  'ALTER TABLE instances ADD COLUMN renewed_beat BIGINT NOT NULL DEFAULT 0',
  'ALTER TABLE instances ADD COLUMN held_ms BIGINT NOT NULL DEFAULT 0',
  "ALTER TABLE instances ADD COLUMN mac TEXT NOT NULL DEFAULT ''",
] as const
