/** Kills that last so long that AWS services do something for good about keys that are out of reach. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { describeScope } from '../../core/scope.ts'
import { type Switch } from '../model.ts'

/** After this long out of reach, DynamoDB archives tables, and Aurora clusters need a backup. */
const LASTING_HARM_MS = 7 * 86_400_000
/** From here on it is said. */
const WARN_FROM_MS = 5 * 86_400_000
/** Between two warnings of one switch. */
const REPEAT_MS = 86_400_000

export interface LongKill {
  readonly id: string
  readonly scope: string
  readonly createdAt: number
  /** Wall time, milliseconds since the Unix epoch; may be over. */
  readonly harmAt: number
}

/** Switches that stop Decrypt, are older than five days, and are not lifted by themselves before the seventh ends. */
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

/** Says it in the log, once a day for each switch. */
export function createLongKillWatch(deps: {
  readonly switches: () => Promise<readonly Switch[]>
  readonly now: () => number
  readonly logger: Logger
}): { look(): Promise<void> } {
  const saidAt = new Map<string, number>()
  return {
    async look() {
      const now = deps.now()
      for (const { id, scope, createdAt, harmAt } of findLongKills(await deps.switches(), now)) {
        if (now - (saidAt.get(id) ?? -Infinity) < REPEAT_MS) continue
        saidAt.set(id, now)
        deps.logger.warn(
          'a kill nears seven days: then DynamoDB archives tables, and Aurora clusters need a backup',
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
