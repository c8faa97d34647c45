/** Receipts of revocations, kept where nothing can be taken out: among the events. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent, readEvents } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import type { Receipt } from './receipt.ts'
import type { Signed } from './signature.ts'

/** The kind of the event that holds one. */
export const REVOKED = 'revoked'

/** Quiet: servers need not look at it. @throws StorageError */
export async function recordReceipt(
  store: Store,
  clock: Clock,
  signed: Signed<Receipt>,
): Promise<void> {
  const { operator } = signed.statement
  await store.change(
    (transaction, epoch) =>
      appendEvent(transaction, store.sealing, {
        at: clock.now(),
        epoch,
        kind: REVOKED,
        operator,
        detail: { ...signed },
      }),
    { quiet: true },
  )
}

/** Newest first. @throws StorageError */
export async function listReceipts(store: Store): Promise<readonly Signed<Receipt>[]> {
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  return events
    .filter(({ kind }) => kind === REVOKED)
    .map(({ detail }) => detail as unknown as Signed<Receipt>)
    .reverse()
}
