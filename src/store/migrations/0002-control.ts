/** Schema version 2: the kill switch and its history, the running instances, and the epoch history. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Tables with a `mac` are either sealed or chained (`control_events`, `epochs`). `instances` is
 * neither: each process rewrites its own row four times a second, and the contents are trusted in
 * one direction only (docs/internals/store.md).
 */
export const CONTROL = [
  `CREATE TABLE switches (
     id TEXT PRIMARY KEY,
     scope TEXT NOT NULL,
     key_store TEXT,
     key_id TEXT,
     criteria TEXT,
     direction TEXT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     created_at BIGINT NOT NULL,
     epoch BIGINT NOT NULL,
     until_at BIGINT,
     mac TEXT NOT NULL
   )`,
  `CREATE TABLE leased_access (
     key_store TEXT PRIMARY KEY,
     ttl_ms BIGINT NOT NULL,
     renewed_at BIGINT NOT NULL,
     open_until BIGINT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     mac TEXT NOT NULL
   )`,
  `CREATE TABLE restore_requests (
     id TEXT PRIMARY KEY,
     switch_ids TEXT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     requested_at BIGINT NOT NULL,
     ready_at BIGINT NOT NULL,
     approved_by TEXT,
     mac TEXT NOT NULL
   )`,
  `CREATE TABLE control_events (
     seq BIGINT PRIMARY KEY,
     at BIGINT NOT NULL,
     epoch BIGINT NOT NULL,
     kind TEXT NOT NULL,
     operator TEXT NOT NULL,
     detail TEXT NOT NULL,
     mac TEXT NOT NULL
   )`,
  `CREATE TABLE epochs (
     epoch BIGINT PRIMARY KEY,
     tag TEXT NOT NULL,
     accepts_any INTEGER NOT NULL,
     mac TEXT NOT NULL
   )`,
  `CREATE TABLE instances (
     id TEXT PRIMARY KEY,
     grp TEXT NOT NULL,
     host TEXT NOT NULL,
     pid BIGINT NOT NULL,
     worker INTEGER NOT NULL,
     version TEXT NOT NULL,
     started_at BIGINT NOT NULL,
     seen_at BIGINT NOT NULL,
     lease_ms BIGINT NOT NULL,
     beat BIGINT NOT NULL,
     acked_epoch BIGINT NOT NULL,
     acked_at BIGINT NOT NULL,
     high_epoch BIGINT NOT NULL,
     state TEXT NOT NULL,
     reason TEXT,
     last_success_at BIGINT,
     in_flight BIGINT NOT NULL
   )`,
] as const
