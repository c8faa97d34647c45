/** Schema version 6: requests to restore name who asked and approved, the epoch, and when they expire. */
// SPDX-License-Identifier: Apache-2.0

/** Requests of the form before this one, in `restore_requests`, say none of that: they are withdrawn, and asked for again. */
export const RESTORATIONS = [
  `CREATE TABLE restorations (
     id TEXT PRIMARY KEY,
     target TEXT NOT NULL,
     reason TEXT NOT NULL,
     operator TEXT NOT NULL,
     identity TEXT NOT NULL,
     requested_at BIGINT NOT NULL,
     ready_at BIGINT NOT NULL,
     expires_at BIGINT NOT NULL,
     epoch BIGINT NOT NULL,
     approved_by TEXT,
     approved_identity TEXT,
     approved_epoch BIGINT,
     mac TEXT NOT NULL
   )`,
] as const
