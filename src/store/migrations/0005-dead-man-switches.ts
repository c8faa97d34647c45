/** Schema version 5: leased access is renamed to dead man's switch. */
// SPDX-License-Identifier: Apache-2.0

/**
 * The codes of the rows cover the old name (`sealedAs` in sealed-rows.ts), so they stay valid. The
 * view lets instances of the previous release read until they are replaced.
 */
export const DEAD_MAN_SWITCHES = [
  'ALTER TABLE leased_access RENAME TO dead_man_switches',
  'CREATE VIEW leased_access AS SELECT * FROM dead_man_switches',
] as const
