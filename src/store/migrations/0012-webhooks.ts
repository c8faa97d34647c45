/**
 * Schema version 12: the position of each webhook in the event log, and which instance sends its
 * messages. The code over name and number keeps an attacker who can only write rows from moving a
 * cursor forward.
 */
// SPDX-License-Identifier: Apache-2.0

export const WEBHOOKS = [
  `CREATE TABLE webhooks (
     name TEXT PRIMARY KEY,
     seq BIGINT NOT NULL,
     mac TEXT NOT NULL,
     owner TEXT NOT NULL,
     claimed_until BIGINT NOT NULL
   )`,
] as const
