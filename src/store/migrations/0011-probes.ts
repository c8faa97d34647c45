/**
 * Schema version 11: which counted requests came from Latchkey's own tools, so that reports can leave
 * them out. A server of an earlier version writes rows without the column: they count as ordinary.
 */
// SPDX-License-Identifier: Apache-2.0

export const PROBES = [
  'ALTER TABLE activity_subjects ADD COLUMN is_probe INTEGER NOT NULL DEFAULT 0',
] as const
