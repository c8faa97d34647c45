/** Changes a store. Each change is one durable transaction, which raises the epoch. */
// SPDX-License-Identifier: Apache-2.0
import { type Database, isTampered, type Reader, type Transaction } from './database.ts'
import { createForeignTag, createTag, type EpochMark, readMark, writeEpoch } from './epochs.ts'
import { readFact, writeFacts } from './facts.ts'
import type { Keyring } from './keyring.ts'
import { notWritten, readState, writeState } from './sealed-state.ts'
import { Ledger, type SealedTransaction } from './sealed-transaction.ts'
import type { Sealing } from './sealing.ts'

export interface Changes {
  /**
   * Makes one durable change to sealed rows, which running servers then apply. The cost does not
   * depend on the number of rows. A change cannot make planted rows look genuine, because it only
   * adds differences to the expected sums. If `erases` is set, the files are also purged of the
   * data that the change removed.
   * @param work receives the store's epoch after the change
   */
  change<T>(
    work: (transaction: SealedTransaction, epoch: number) => Promise<T>,
    options?: ChangeOptions,
  ): Promise<T>
  /**
   * Increments only the epoch, without verifying any rows. Servers then reread the store and, if it
   * was tampered with, refuse all requests.
   * @throws StorageError STORE_TAMPERED if the database does not keep even that change
   */
  bumpEpoch(): Promise<EpochMark>
}

export interface ChangeOptions {
  readonly erases?: boolean
  /**
   * Set only by `control accept-epoch`: servers may continue from this epoch, regardless of the
   * history they have seen.
   */
  readonly acceptsAny?: boolean
  /**
   * Set only for a change to an instance's own registration. Such a change affects no other
   * instance, so no other instance needs to read the store.
   */
  readonly isQuiet?: boolean
  /** Lower bound for the new epoch. */
  readonly minEpoch?: number
  /** Set only by `store rekey`: seals the state with a key other than the current one. */
  readonly sealing?: Sealing
}

/** @param database a database that repeats work when the keyring's keys change (follow-keys.ts) */
export function createChanges(database: Database, keyring: Keyring): Changes {
  const { sealing } = keyring

  /**
   * Creates the tag of the next epoch. If the current epoch has no tag or cannot be verified, the
   * new tag continues no epoch: a tag that names no predecessor would fit any history.
   */
  async function createNextTag(reader: Reader, epoch: number): Promise<string> {
    try {
      const { tag } = await readMark(reader, sealing, epoch)
      return tag === '' ? createForeignTag() : createTag(tag)
    } catch (error) {
      if (isTampered(error)) return createForeignTag()
      throw error
    }
  }

  return {
    async change(work, options) {
      const result = await database.transaction(async (transaction) => {
        await keyring.refresh(transaction)
        const before = await readState(transaction, sealing)
        const epoch = Math.max(before.epoch + 1, options?.minEpoch ?? 0)
        const tag = createTag(before.tag, options)
        const ledger = new Ledger(before, { epoch, tag })
        const done = await work(withLedger(transaction, ledger), epoch)
        const own = options?.sealing ?? sealing
        await writeEpoch(transaction, own, ledger, options?.acceptsAny ?? false)
        const { tables, events } = ledger
        await writeState(transaction, own, { epoch, tag, tables, events })
        await ledger.readBack(transaction, sealing)
        // The schema is checked last, when the written tables are locked, so that an object planted
        // earlier is visible.
        await database.checkSchema(transaction)
        return done
      })
      // The change is committed. Data that cannot be overwritten now will be overwritten by the
      // next erasure.
      if (options?.erases === true) await database.erase().catch(() => undefined)
      return result
    },
    async bumpEpoch() {
      // Loads the current key if possible. Errors are ignored, because the store may have been
      // tampered with.
      await database.snapshot((reader) => keyring.refresh(reader)).catch(() => false)
      const mark = await database.transaction(async (transaction) => {
        await keyring.refresh(transaction).catch(() => false)
        const epoch = Number(await readFact(transaction, 'epoch'))
        const next = { epoch: epoch + 1, tag: await createNextTag(transaction, epoch) }
        await writeEpoch(transaction, sealing, next, false)
        await writeFacts(transaction, { epoch: String(next.epoch) })
        return next
      })
      // The epoch is checked after the commit, because a planted object may have reverted the
      // change during the commit.
      if ((await database.epoch()) < mark.epoch) throw notWritten('facts epoch')
      return mark
    },
  }
}

export function withLedger(transaction: Transaction, ledger: Ledger): SealedTransaction {
  return {
    query: (sql, parameters) => transaction.query(sql, parameters),
    execute: (sql, parameters) => transaction.execute(sql, parameters),
    ledger,
  }
}
