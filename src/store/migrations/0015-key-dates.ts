/** Schema version 15: the dates between which a key may be used. */
// SPDX-License-Identifier: Apache-2.0

/** A key without dates has no row. Times are wall-clock times, in milliseconds since the Unix epoch. */
export const KEY_DATES = [
  `CREATE TABLE key_dates (
     key_store TEXT NOT NULL,
     key_id TEXT NOT NULL,
     activate_at BIGINT,
     deactivate_at BIGINT,
     changed_epoch BIGINT NOT NULL,
     mac TEXT NOT NULL,
     PRIMARY KEY (key_store, key_id)
   )`,
  'CREATE INDEX key_dates_changed ON key_dates (changed_epoch)',
] as const
