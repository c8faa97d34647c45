/**
 * Schema version 12: each webhook's position in the event log, and the instance that sends its
 * messages. The MAC covers the name and the position, so an attacker who can only write rows cannot
 * move a cursor forward.
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
