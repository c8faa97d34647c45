/** `activity`: who used which key, counted. */
// SPDX-License-Identifier: Apache-2.0
import { duration, integer, object } from './section.ts'

export const activity = object(
  'Counts of who used which key, kept in the store for `kill --rehearse`, `exposure` and the last use of credentials.',
  {
    retention: duration('How long counts by hour are kept. By minute: two hours.', '720h'),
    flushInterval: duration('Between two writes; a crash loses what was counted since.', '5s'),
    maxSubjects: integer(
      'Different callers, keys and ways that one process tells apart within an hour. More are counted together, and the log says so.',
      { minimum: 10, maximum: 100_000, default: 2000 },
    ),
  },
  { default: {} },
)
