/**
 * Finds kills that last so long that AWS services take irreversible action on resources whose key
 * is unreachable.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { describeScope } from '../../core/scope.ts'
import { type Switch } from '../model.ts'

/**
 * Time after which DynamoDB archives tables whose key is unreachable, and Aurora clusters can only
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
  /** Wall time in milliseconds since the Unix epoch; may lie in the past. */
  readonly harmAt: number
}

/**
 * Returns the switches that stop Decrypt, are older than five days, and do not expire before the
 * seventh day ends.
 */
export function findLongKills(switches: readonly Switch[], now: number): readonly LongKill[] {
  return switches
    .filter(
      ({ direction, createdAt, until = Infinity }) =>
        direction !== 'encrypt' &&
        now - createdAt >= WARN_FROM_MS &&
        until > createdAt + LASTING_HARM_MS,
    )
    .map(({ id, scope, createdAt }) => ({
      ...{ id, scope: describeScope(scope), createdAt },
      harmAt: createdAt + LASTING_HARM_MS,
    }))
}

/** Maximum number of warnings per check; the remaining warnings follow at the next check. */
const MAX_WARNINGS = 50

/** Logs a warning once a day for each switch. */
export function createLongKillWatch(deps: {
  readonly now: () => number
  readonly logger: Logger
}): { look(switches: readonly Switch[]): void } {
  const saidAt = new Map<string, number>()
  return {
    look(switches) {
      const now = deps.now()
      const isDue = ({ id }: Switch) => now - (saidAt.get(id) ?? -Infinity) >= REPEAT_MS
      const due = switches.filter(isDue)
      for (const { id, scope, createdAt, harmAt } of findLongKills(due, now).slice(
        0,
        MAX_WARNINGS,
      )) {
        saidAt.set(id, now)
        deps.logger.warn(
          'a kill is approaching seven days; after that, DynamoDB archives tables and Aurora clusters can only be restored from a backup',
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
