/** Rehearses the kill switch on the live fleet, with a key that nothing depends on. */
// SPDX-License-Identifier: Apache-2.0
import { appendEvent } from '../../store/event-log.ts'
import { liftSwitches } from './restore.ts'
import { loadInstances } from '../instance/instances.ts'
import { kill } from './kill.ts'
import { type WaitDeps, waitForRevocation } from './wait.ts'
import type { InstanceOutcome } from './waiting-fleet.ts'

/**
 * A drill uses only this key, because it lifts its own kill at once, even if control.restore
 * requires a delay or a second person.
 */
export const DRILL_KEY = 'latchkey-drill'

export interface Drill {
  readonly keyStore: string
  readonly keyId: string
  /** Milliseconds from the call until no instance could serve the key any longer. */
  readonly revokedAfterMs: number
  /** Milliseconds from the call that lifts the switch until every instance has applied it. */
  readonly restoredAfterMs: number
  readonly instances: readonly InstanceOutcome[]
}

export interface DrillOrder {
  readonly keyStore: string
  readonly operator: string
  /** Called while the key is revoked, so that a caller can verify the refusal. */
  readonly whileRevoked?: () => Promise<void>
}

/**
 * Runs a drill. Restores the key even after an error, provided that the store can be written.
 * @throws ControlError, StorageError
 */
export async function drill(deps: WaitDeps, order: DrillOrder): Promise<Drill> {
  const { store, clock } = deps
  const { keyStore, operator } = order
  const done = await kill(store, clock, {
    scope: { kind: 'key', keyStore, keyId: DRILL_KEY },
    direction: 'both',
    reason: 'drill',
    operator,
  })
  try {
    const revoked = await waitForRevocation(deps, done)
    await order.whileRevoked?.()
    const restored = await lift()
    const { elapsedMs } = await waitForRevocation(deps, restored)
    return {
      keyStore,
      keyId: DRILL_KEY,
      revokedAfterMs: Math.round(revoked.elapsedMs),
      restoredAfterMs: Math.round(elapsedMs),
      instances: revoked.instances,
    }
  } catch (error) {
    await lift().catch(() => undefined)
    throw error
  }

  async function lift() {
    const startedAt = clock.monotonic()
    const mark = await store.change(async (transaction, epoch) => {
      const switches = done.switch === undefined ? [] : [done.switch]
      await liftSwitches(store, clock, transaction, switches, { operator, reason: 'drill', epoch })
      const detail = { keyStore, keyId: DRILL_KEY }
      const event = { at: clock.now(), epoch, kind: 'drill', operator, detail }
      await appendEvent(transaction, store.sealing, event)
      const { ledger } = transaction
      const registered = await loadInstances(transaction, store.sealing, ledger)
      return { epoch, tag: ledger.tag, registered }
    })
    return { ...mark, startedAt, committedAt: clock.monotonic() }
  }
}
