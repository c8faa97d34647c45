/** Lifts timed switches when they expire: late rather than early, and for all instances at once. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Store } from '../../store/store.ts'
import { liftSwitches } from '../operator/restore.ts'
import { type ControlState, SwitchTable } from '../switch-table.ts'
import { createControlFeed } from './control-feed.ts'
import type { Switch } from '../model.ts'

export interface ExpiryDeps {
  readonly store: Store
  readonly clock: Clock
  /** Recorded as the operator who lifts a switch. */
  readonly operator: string
  /** Called with the verified switches of each read, so that the gate can be compared with them. */
  readonly onLoaded?: (state: ControlState) => void
}

export interface Expiry {
  /**
   * Lifts the switches that have expired. Instances follow the store, so none of them decides
   * alone.
   */
  run(): Promise<void>
}

/**
 * A switch expires once both the database's wall clock and our own have passed its time, and as
 * much time has passed on the monotonic clock as was left when we first saw it. So a wall clock
 * that jumps ahead opens nothing while we watch.
 */
export function createExpiry({ store, clock, operator, onLoaded }: ExpiryDeps): Expiry {
  // A separate feed, so that the gate is compared with switches that were read and verified
  // independently.
  const feed = createControlFeed(store)
  let timed: readonly Switch[] = []
  let seen: readonly Switch[] | undefined
  /** Monotonic milliseconds before which a switch is not expired, by id. */
  let notBefore = new Map<string, number>()

  function watch(switches: readonly Switch[]): void {
    if (switches === seen) return
    seen = switches
    timed = switches.filter(({ until }) => until !== undefined)
    const left = (until: number) => clock.monotonic() + until - clock.now()
    notBefore = new Map(
      timed.map(({ id, until = Infinity }) => [id, notBefore.get(id) ?? left(until)]),
    )
  }

  function isOver({ id, until = Infinity }: Switch, databaseNow: number): boolean {
    const wall = Math.min(clock.now(), databaseNow)
    return wall >= until && clock.monotonic() >= (notBefore.get(id) ?? Infinity)
  }

  return {
    async run() {
      const { over } = await store.database.snapshot(async (reader) => {
        const state = await feed.read(reader)
        const { switches } = state
        onLoaded?.(state)
        watch(switches)
        const [row] = await reader.query(`SELECT ${store.database.nowSql} AS now`)
        return { over: timed.filter((one) => isOver(one, Number(row?.['now']))) }
      })
      if (over.length === 0) return
      const ids = new Set(over.map(({ id }) => id))
      await store.change(async (transaction, epoch) => {
        const table = new SwitchTable(transaction, store.sealing)
        // Another instance may have lifted it first.
        const still = (await table.switches()).filter(({ id }) => ids.has(id))
        const by = { operator, reason: 'the switch expired', epoch, kind: 'expired' as const }
        await liftSwitches(store, clock, transaction, still, by)
      })
    },
  }
}
