/** Finds kills that last so long that AWS services act irreversibly on unreachable keys. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { describeScope } from '../../core/scope.ts'
import { type Switch } from '../model.ts'

/**
 * When a key is out of reach for this long, DynamoDB archives tables, and Aurora clusters can only
 * be restored from a backup.
 */
const LASTING_HARM_MS = 7 * 86_400_000
/** Age of a switch at which the warnings begin. */
const WARN_FROM_MS = 5 * 86_400_000
/** Time between two warnings about one switch. */
const REPEAT_MS = 86_400_000

export interface LongKill {
  readonly id: string
  readonly scope: string
  readonly createdAt: number
  /** Wall time, milliseconds since the Unix epoch; may lie in the past. */
  readonly harmAt: number
}

/**
 * Returns the switches that stop Decrypt, are older than five days, and do not expire before the
 * seventh day ends.
 */
export function findLongKills(switches: readonly Switch[], now: number): readonly LongKill[] {
  return switches
    .filter(({ direction }) => direction !== 'encrypt')
    .map(({ id, scope, createdAt, until }) => ({
      ...{ id, scope: describeScope(scope), createdAt, until: until ?? Infinity },
      harmAt: createdAt + LASTING_HARM_MS,
    }))
    .filter(({ createdAt, harmAt, until }) => now - createdAt >= WARN_FROM_MS && until > harmAt)
    .map(({ id, scope, createdAt, harmAt }) => ({ id, scope, createdAt, harmAt }))
}

/** Logs a warning once a day for each switch. */
export function createLongKillWatch(deps: {
  readonly now: () => number
  readonly logger: Logger
}): { look(switches: readonly Switch[]): void } {
  const saidAt = new Map<string, number>()
  return {
    look(switches) {
      const now = deps.now()
      for (const { id, scope, createdAt, harmAt } of findLongKills(switches, now)) {
        if (now - (saidAt.get(id) ?? -Infinity) < REPEAT_MS) continue
        saidAt.set(id, now)
        deps.logger.warn(
          'a kill approaches seven days; after that, DynamoDB archives tables and Aurora clusters can only be restored from a backup',
          {
            switch: id,
            scope,
            since: new Date(createdAt).toISOString(),
            until: new Date(harmAt).toISOString(),
          },
        )
      }
    },
  }
}
