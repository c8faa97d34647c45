/**
 * All schema changes, in order. The number of applied steps is the store's schema version. A new
 * step may only add tables, and columns with defaults, because backups from schema version 8 onward
 * are loaded into the current tables (backup.ts).
 */
// SPDX-License-Identifier: Apache-2.0
import { INITIAL } from './0001-initial.ts'
import { CONTROL } from './0002-control.ts'
import { ACTIVITY } from './0003-activity.ts'
import { KEY_USES } from './0004-key-uses.ts'
import { DEAD_MAN_SWITCHES } from './0005-dead-man-switches.ts'
import { RESTORATIONS } from './0006-restorations.ts'
import { CHANGE_FEED } from './0007-change-feed.ts'
import { REGISTRATIONS } from './0008-registrations.ts'
import { POLICIES } from './0009-policies.ts'
import { TOKEN_KEYS } from './0010-token-keys.ts'
import { PROBES } from './0011-probes.ts'
import { WEBHOOKS } from './0012-webhooks.ts'
import { OPERATORS } from './0013-operators.ts'
import { VERSION_LEDGER } from './0014-version-ledger.ts'
import { KEY_DATES } from './0015-key-dates.ts'

export const MIGRATIONS: readonly (readonly string[])[] = [
  INITIAL,
  CONTROL,
  ACTIVITY,
  KEY_USES,
  DEAD_MAN_SWITCHES,
  RESTORATIONS,
  CHANGE_FEED,
  REGISTRATIONS,
  POLICIES,
  TOKEN_KEYS,
  PROBES,
  WEBHOOKS,
  OPERATORS,
  VERSION_LEDGER,
  KEY_DATES,
]
