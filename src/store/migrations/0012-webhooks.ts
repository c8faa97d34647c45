/**
 * Schema version 12: how far each webhook has been told about the events, and which instance tells it.
 * The code over name and number keeps a cursor from being moved forward by who can only write rows.
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
