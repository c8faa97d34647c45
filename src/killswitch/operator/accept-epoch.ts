/** The way back after a control store was restored from a backup, on purpose. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { listInstances } from '../instance/instances.ts'

/**
 * Raises the epoch above what any running instance has seen, and marks it as one to go on from. A host
 * that was down meanwhile and has seen more refuses when it comes back; then this is run again.
 * @returns the new epoch
 */
export async function acceptEpoch(
  store: Store,
  clock: Clock,
  { operator, reason }: { readonly operator: string; readonly reason: string },
): Promise<number> {
  const instances = await store.database.snapshot(listInstances)
  const highest = Math.max(0, ...instances.map(({ highEpoch }) => highEpoch))
  return store.change(
    async (transaction, epoch) => {
      const event = { at: clock.now(), epoch, kind: 'epoch-accepted', operator, detail: { reason } }
      await appendEvent(transaction, store.sealing, event)
      return epoch
    },
    { minEpoch: highest + 1, acceptsAny: true },
  )
}
