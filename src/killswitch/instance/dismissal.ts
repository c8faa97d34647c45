/** Dismisses instances that seem to be dead, and removes them later. */
// SPDX-License-Identifier: Apache-2.0
import { selectRows } from '../../store/sealed-rows.ts'
import { REGISTRATIONS } from '../../store/sealed-tables.ts'
import { type SealedTransaction, updateRow } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { type Instance, removeRegistration } from './instances.ts'

/** A registration and the epoch at which it was last written. */
export type SeenRegistration = Pick<Instance, 'id' | 'registeredEpoch'>

/**
 * Dismisses the silent instances, and removes the instances that stayed dismissed for a whole
 * lease, in one change. Silence alone does not prove that an instance is dead: an attacker who can
 * write to the database can hide heartbeats. A live instance that is dismissed sees the new epoch,
 * does not renew its lease under it, and registers again.
 */
export async function dismissInstances(
  store: Store,
  dead: {
    readonly silent: readonly SeenRegistration[]
    readonly over: readonly SeenRegistration[]
  },
): Promise<void> {
  const { sealing } = store
  if (dead.silent.length + dead.over.length === 0) return
  await changeUnlessIdle(store, async (transaction) => {
    const find = async ({ id, registeredEpoch }: SeenRegistration) => {
      const [row] = await selectRows(transaction, sealing, REGISTRATIONS, { id })
      return row?.['changed_epoch'] === registeredEpoch ? row : undefined
    }
    let changes = 0
    for (const one of dead.silent) {
      const row = await find(one)
      if (row === undefined) continue
      await updateRow(transaction, sealing, REGISTRATIONS, { ...row, dismissed: 1 })
      changes += 1
    }
    for (const one of dead.over) {
      if ((await find(one)) === undefined) continue
      await removeRegistration(transaction, sealing, one.id)
      changes += 1
    }
    return changes
  })
}

class Idle extends Error {}

/**
 * Runs a change. If the change had no effect, rolls it back, so that it does not raise the epoch.
 */
async function changeUnlessIdle(
  store: Store,
  work: (transaction: SealedTransaction) => Promise<number>,
): Promise<void> {
  try {
    await store.change(async (transaction) => {
      if ((await work(transaction)) === 0) throw new Idle()
    })
  } catch (error) {
    if (!(error instanceof Idle)) throw error
  }
}
