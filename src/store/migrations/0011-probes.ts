/**
 * Schema version 11: marks counted requests that came from Latchkey's own tools, so that reports
 * can exclude them. Servers of earlier versions do not set the column, so their rows count as
 * ordinary requests.
 */
// SPDX-License-Identifier: Apache-2.0

export const PROBES = [
  'ALTER TABLE activity_subjects ADD COLUMN is_probe INTEGER NOT NULL DEFAULT 0',
] as const
