/**
 * Lifts timed switches when they expire, and records when a dead man's switch was not renewed in
 * time. Both happen late rather than early, and only once in the whole fleet.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Reader } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import { findSealedFact } from '../../store/sealed-rows.ts'
import { STATE_RECORDS } from '../../store/sealed-state.ts'
import { FACTS } from '../../store/sealed-tables.ts'
import { putRow } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { expectDatabaseNow, readDatabaseNow } from '../operator/restore-requests.ts'
import { liftSwitches } from '../operator/restore.ts'
import { type ControlState, SwitchTable } from '../switch-table.ts'
import { createControlFeed } from './control-feed.ts'
import type { DeadManSwitch, Switch } from '../model.ts'

export interface ExpiryDeps {
  readonly store: Store
  readonly clock: Clock
  /** Recorded as the operator who lifted a switch, or who noticed a lapse. */
  readonly operator: string
  /** Called with the verified switches of each read, so that the gate can be compared with them. */
  readonly onLoaded?: (state: ControlState) => void
}

export interface Expiry {
  /**
   * Lifts the switches that have expired, and records lapses. Instances follow the store, so no
   * instance decides alone.
   */
  run(): Promise<void>
}

/**
 * Name of the stored value that holds the expiry of a key store's dead man's switch as of the last
 * recorded lapse.
 */
const lapseOf = (keyStore: string) => `lapse ${keyStore}`

/**
 * A switch expires once both the database's wall clock and our own have passed its expiry, and the
 * time that remained when we first saw it has passed on the monotonic clock. A wall clock that
 * jumps ahead therefore opens nothing while we watch.
 */
export function createExpiry({ store, clock, operator, onLoaded }: ExpiryDeps): Expiry {
  // This feed is separate, so that the gate is compared with switches that were read and verified
  // independently.
  const feed = createControlFeed(store)
  let timed: readonly Switch[] = []
  let seen: readonly Switch[] | undefined
  /** Earliest expiry of each switch in monotonic milliseconds, by id. */
  let notBefore = new Map<string, number>()
  /** Expiry of each dead man's switch whose lapse is known to be recorded, by key store. */
  const recorded = new Map<string, number>()

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

  /**
   * The gate closes the key store on its own; this function only decides when to record the lapse.
   */
  function hasLapsed({ keyStore, renewedAt, openUntil }: DeadManSwitch, databaseNow: number) {
    // If a command closed the key store, the expiry is no later than the last renewal, and the
    // closing already has an event.
    if (openUntil <= renewedAt || recorded.get(keyStore) === openUntil) return false
    return Math.min(clock.now(), databaseNow) >= openUntil
  }

  async function lift(over: readonly Switch[]): Promise<void> {
    const ids = new Set(over.map(({ id }) => id))
    await store.change(async (transaction, epoch) => {
      const table = new SwitchTable(transaction, store.sealing)
      // Another instance may have lifted some of the switches first.
      const still = (await table.switches()).filter(({ id }) => ids.has(id))
      const by = { operator, reason: 'the switch expired', epoch, kind: 'expired' as const }
      await liftSwitches(store, clock, transaction, still, by)
    })
  }

  async function record({ keyStore, openUntil }: DeadManSwitch): Promise<void> {
    const fact = { name: lapseOf(keyStore), value: String(openUntil) }
    const isRecorded = async (reader: Reader) =>
      (await findSealedFact(reader, store.sealing, fact.name)) === fact.value
    if (!(await store.database.snapshot(isRecorded))) {
      await store.change(async (transaction, epoch) => {
        const table = new SwitchTable(transaction, store.sealing)
        const now = await table.deadManSwitch(keyStore)
        // The owner may have renewed the dead man's switch, or another instance may have recorded
        // the lapse.
        if (now?.openUntil !== openUntil || (await isRecorded(transaction))) return
        await putRow(transaction, store.sealing, FACTS, fact)
        const detail = {
          ...{ keyStore, reason: "the dead man's switch was not renewed in time" },
          openUntil: new Date(openUntil).toISOString(),
        }
        const event = { at: clock.now(), epoch, kind: 'deadman-lapsed', operator, detail }
        await appendEvent(transaction, store.sealing, event)
      })
    }
    recorded.set(keyStore, openUntil)
  }

  return {
    async run() {
      // Between two runs, the switches seldom change.
      const isKnown = feed.expectKill().length > 0
      const expected = isKnown ? [STATE_RECORDS, expectDatabaseNow(store)] : []
      const { over, lapsed } = await store.database.snapshot(async (reader) => {
        const state = await feed.read(reader)
        onLoaded?.(state)
        watch(state.switches)
        const now = await readDatabaseNow(store, reader)
        return {
          over: timed.filter((one) => isOver(one, now)),
          lapsed: state.deadManSwitches.filter((one) => hasLapsed(one, now)),
        }
      }, expected)
      if (over.length > 0) await lift(over)
      for (const one of lapsed) await record(one)
    },
  }
}
