/**
 * Schema version 6: restore requests record who requested and who approved them, the epoch, and the
 * expiry.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * Requests in the earlier format, in `restore_requests`, lack these details, so they are withdrawn
 * and must be resubmitted.
 */
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
