/**
 * Replaces the store's own key while servers are running. First every instance loads the new key
 * alongside the old one. Then the new key seals new data, and existing data is resealed in small
 * changes. Finally the old key is dropped. Each step is one change, so an interrupted rekey resumes
 * where it stopped.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { pause } from '../core/deadline.ts'
import { factContext, PURPOSE_KEY } from './bindings.ts'
import { type Reader, StorageError } from './database.ts'
import { readEvents } from './event-log.ts'
import { findFact } from './facts.ts'
import { type Keyring, REKEY, type Rekey } from './keyring.ts'
import { createMasterKey, type MasterKey } from './master-key.ts'
import {
  readOwnRekey,
  recodeTables,
  resealAll,
  type ResealingDeps,
  rewrap,
  takenOver,
} from './resealing.ts'
import { column, selectRows, verifyAll } from './sealed-rows.ts'
import { FACTS } from './sealed-tables.ts'
import { notWritten } from './sealed-state.ts'
import { deleteRow, putRow, replaceRow, type SealedTransaction } from './sealed-transaction.ts'
import { openWithKey, type Store, type StoreOptions } from './store.ts'

/** Progress of a rekey. */
export type RekeyStage = 'announced' | 'switched' | 'rewrapped' | 'finished'

export interface RekeyDeps {
  readonly clock: Clock
  /**
   * Resolves once every running instance has the newest key, or after a timeout.
   * @returns the instances that lack the key
   */
  readonly waitForKey: (store: Store) => Promise<readonly string[]>
  /**
   * Resolves once every running instance has acknowledged this epoch, or after a timeout.
   * @returns the instances that have not acknowledged it
   */
  readonly waitForEpoch: (store: Store, epoch: number) => Promise<readonly string[]>
  /** Reports whether any instance is running. */
  readonly isServed: (store: Store) => Promise<boolean>
  readonly onStage?: (stage: RekeyStage) => void
  /** Called with the number of rows resealed so far. */
  readonly onProgress?: (rows: number) => void
}

/**
 * Grace period in milliseconds, which outlasts any statement that was authenticated before its
 * process switched keys. Statements are authenticated when they are sent, and end after five
 * seconds.
 */
const GRACE_MS = 6000

/**
 * @returns the number of rows resealed
 * @throws StorageError
 */
export async function rekeyStore(options: StoreOptions, deps: RekeyDeps): Promise<number> {
  const { store, storeKey, keyring } = await openWithKey(options)
  storeKey.fill(0)
  try {
    const rekeying = new Rekeying(store, keyring, deps)
    return await rekeying.run(createMasterKey(options.masterKey))
  } finally {
    await store.close()
  }
}

/** @throws StorageError STORE_BUSY while the store key is being replaced */
export async function refuseDuringRekey(reader: Reader): Promise<void> {
  if ((await findFact(reader, REKEY)) === undefined) return
  throw new StorageError('STORE_BUSY', 'the store key is being replaced', {
    hint: 'run latchkey store rekey --new-store-key --yes again to complete the replacement',
  })
}

class Rekeying {
  readonly #store: Store
  readonly #keyring: Keyring
  readonly #deps: RekeyDeps
  #rows = 0

  constructor(store: Store, keyring: Keyring, deps: RekeyDeps) {
    this.#store = store
    this.#keyring = keyring
    this.#deps = deps
  }

  async run(masterKey: MasterKey): Promise<number> {
    const { onStage } = this.#deps
    let rekey = this.#keyring.rekey ?? (await this.#announce(masterKey))
    if (rekey.phase === 'announced') {
      onStage?.('announced')
      await this.#store.loadNextKey()
      await this.#waitForKey(rekey)
      rekey = await this.#switch(rekey)
    }
    onStage?.('switched')
    const resealing: ResealingDeps = {
      ...{ store: this.#store, keyring: this.#keyring, clock: this.#deps.clock, rekey },
      onRows: (rows) => {
        this.#rows += rows
        this.#deps.onProgress?.(this.#rows)
      },
    }
    await resealAll(resealing)
    onStage?.('rewrapped')
    await this.#waitForEpoch(rekey)
    // The rows are resealed once more, because a process may have authenticated a row with the old
    // key just before it switched keys.
    await recodeTables(resealing)
    await this.#finish(rekey)
    onStage?.('finished')
    return this.#rows
  }

  /** Loads the keys that are valid after the last change. */
  async #refresh(): Promise<void> {
    await this.#store.database.snapshot((reader) => this.#keyring.refresh(reader))
  }

  async #announce(masterKey: MasterKey): Promise<Rekey> {
    const next = randomBytes(32)
    const other = await masterKey.wrap(next)
    const again = await masterKey.unwrap(other)
    const isSame = again.equals(next)
    for (const key of [next, again]) key.fill(0)
    if (!isSame) throw notWritten('the new store key')
    const rekey: Rekey = { phase: 'announced', other, startedAt: this.#deps.clock.now() }
    await this.#store.change(async (transaction) => {
      await refuseDuringRekey(transaction)
      const row = { name: REKEY, value: JSON.stringify(rekey) }
      await putRow(transaction, this.#store.sealing, FACTS, row)
    })
    await this.#refresh()
    return rekey
  }

  /** @throws StorageError STORE_BUSY, in which case this process has changed nothing */
  async #waitForKey(rekey: Rekey): Promise<void> {
    const missing = await this.#deps.waitForKey(this.#store)
    if (missing.length === 0) return
    await this.#store.change((transaction) => this.#delete(transaction, rekey))
    throw new StorageError(
      'STORE_BUSY',
      `nothing was changed: the new store key was not loaded by ${missing.join(', ')}`,
      {
        hint: 'each instance must run this release and be able to read the current master key: restart these instances with the current configuration',
      },
    )
  }

  /**
   * Seals the `facts` table and the state with a single key, so that this key alone authenticates
   * them.
   */
  async #switch(rekey: Rekey): Promise<Rekey> {
    const { sealing, id } = this.#store
    const { turned, purposeKey } = this.#keyring
    if (turned === undefined) throw takenOver()
    const switched = await this.#store.change(
      async (transaction, epoch) => {
        await readOwnRekey(transaction, sealing, rekey)
        const facts = await selectRows(transaction, sealing, FACTS)
        const valueOf = (name: string) =>
          String(column(facts.find((row) => row['name'] === name) ?? {}, 'value'))
        const next: Rekey = {
          ...{ phase: 'rewrapping', other: valueOf('master_key'), startedAt: rekey.startedAt },
          switchedEpoch: epoch,
        }
        const purpose = purposeKey.export()
        const values = new Map([
          ['master_key', rekey.other],
          [PURPOSE_KEY, turned.wrap(factContext(PURPOSE_KEY, id), purpose)],
          [REKEY, JSON.stringify(next)],
        ])
        purpose.fill(0)
        for (const row of facts) {
          const value = values.get(String(column(row, 'name')))
          const sealed = value === undefined ? rewrap(turned, FACTS, row, id) : { ...row, value }
          await replaceRow(transaction, turned, FACTS, row, sealed)
        }
        if (!facts.some((row) => row['name'] === PURPOSE_KEY)) {
          const value = values.get(PURPOSE_KEY) ?? ''
          await putRow(transaction, turned, FACTS, { name: PURPOSE_KEY, value })
        }
        return next
      },
      { sealing: turned },
    )
    await this.#refresh()
    return switched
  }

  /** @throws StorageError STORE_BUSY; the rekey can be resumed later */
  async #waitForEpoch({ switchedEpoch = 0 }: Rekey): Promise<void> {
    const missing = await this.#deps.waitForEpoch(this.#store, switchedEpoch)
    if (missing.length > 0) {
      throw new StorageError(
        'STORE_BUSY',
        `everything is sealed with the new store key, but these instances still seal with the old one: ${missing.join(', ')}`,
        {
          hint: 'run the same command again once these instances have polled the store or stopped',
        },
      )
    }
    if (await this.#deps.isServed(this.#store)) await pause(GRACE_MS)
  }

  /** Verifies that no row still needs the old key, and then drops that key. */
  async #finish(rekey: Rekey): Promise<void> {
    const { database, sealing } = this.#store
    await database.snapshot(async (reader) => {
      await readOwnRekey(reader, sealing, rekey)
      const { current } = this.#keyring
      await verifyAll(reader, current)
      await readEvents(reader, current)
    })
    await this.#store.change((transaction) => this.#delete(transaction, rekey), { erases: true })
    await this.#refresh()
  }

  /**
   * Deletes the rekey record. The record holds the only copy of a key, so it is deleted only if the
   * rekey has not advanced in the meantime.
   */
  async #delete(transaction: SealedTransaction, rekey: Rekey): Promise<void> {
    const { sealing } = this.#store
    await readOwnRekey(transaction, sealing, rekey)
    await deleteRow(transaction, sealing, FACTS, { name: REKEY })
  }
}
