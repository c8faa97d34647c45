/** Schema version 5: renames leased access to dead man's switches. */
// SPDX-License-Identifier: Apache-2.0

/**
 * The rows' MACs cover the old name (`sealedAs` in sealed-rows.ts), so they stay valid. Instances
 * of the previous release read through the view until they are replaced.
 */
export const DEAD_MAN_SWITCHES = [
  'ALTER TABLE leased_access RENAME TO dead_man_switches',
  'CREATE VIEW leased_access AS SELECT * FROM dead_man_switches',
] as const
