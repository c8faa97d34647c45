/** Rehearses the kill switch on the live fleet, with a key that nothing depends on. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { liftSwitches } from './restore.ts'
import { kill, waitForRevocation, type InstanceOutcome } from './kill.ts'

/**
 * Only this key is used: a drill lifts its own kill at once, whatever control.restore demands
 * otherwise.
 */
export const DRILL_KEY = 'latchkey-drill'

export interface Drill {
  readonly keyStore: string
  readonly keyId: string
  /** Milliseconds from the call until no instance would have served the key. */
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
 * @throws ControlError, StorageError; the key is restored even then, if the store can be written
 */
export async function drill(store: Store, clock: Clock, order: DrillOrder): Promise<Drill> {
  const { keyStore, operator } = order
  const done = await kill(store, clock, {
    scope: { kind: 'key', keyStore, keyId: DRILL_KEY },
    direction: 'both',
    reason: 'drill',
    operator,
  })
  try {
    const revoked = await waitForRevocation(store, clock, done)
    await order.whileRevoked?.()
    const restored = await lift()
    const { elapsedMs } = await waitForRevocation(store, clock, restored)
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
    const epoch = await store.change(async (transaction, epoch) => {
      const switches = done.switch === undefined ? [] : [done.switch]
      await liftSwitches(store, clock, transaction, switches, { operator, reason: 'drill', epoch })
      const detail = { keyStore, keyId: DRILL_KEY }
      const event = { at: clock.now(), epoch, kind: 'drill', operator, detail }
      await appendEvent(transaction, store.sealing, event)
      return epoch
    })
    return { epoch, startedAt, committedAt: clock.monotonic() }
  }
}
