/** A store, opened: the database and the keys to what is sealed in it. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { StorageError, type Database, type Transaction } from './database.ts'
import { createEngine, type StorePlace } from './engine.ts'
import { createMasterKey, type MasterKeySource } from './master-key.ts'
import {
  loadContents,
  readFact,
  refreshDigest,
  writeFact,
  type StoreContents,
} from './sealed-rows.ts'
import { createSealing, type Sealing } from './sealing.ts'
import { writeEpoch } from './epochs.ts'

export interface Store {
  readonly database: Database
  readonly sealing: Sealing
  /** Random, for ever the same. */
  readonly id: string
  /**
   * One durable change of sealed rows. Running servers see it, unless it is `quiet`: a change that
   * only this process needs to know of. One that `erases` leaves nothing in the files of what it
   * removed.
   * @param work is told the epoch that the store has afterwards
   */
  change<T>(
    work: (transaction: Transaction, epoch: number) => Promise<T>,
    options?: ChangeOptions,
  ): Promise<T>
  /**
   * Raises the epoch and nothing else, whatever the rows are like: servers that find a store which was
   * changed by others refuse everything.
   */
  bumpEpoch(): Promise<number>
  /** All that is sealed, verified. @throws StorageError STORE_TAMPERED */
  contents(): Promise<StoreContents>
  close(): Promise<void>
}

export interface ChangeOptions {
  readonly quiet?: boolean
  readonly erases?: boolean
  /** Only after `control accept-epoch`: servers go on from here, whatever they saw before. */
  readonly acceptsAny?: boolean
  /** The epoch becomes at least this. */
  readonly minEpoch?: number
}

export interface StoreOptions extends StorePlace {
  readonly masterKey: MasterKeySource
  readonly clock: Clock
  /** Open a store that others have changed, to raise its epoch: servers look at it then, and refuse everything. */
  readonly allowsTampered?: boolean
}

const STORE_KEY_BYTES = 32

/** Makes an empty store, mode 0600. @throws StorageError STORE_EXISTS */
export async function createStore(options: StoreOptions): Promise<Store> {
  const masterKey = createMasterKey(options.masterKey)
  const storeKey = randomBytes(STORE_KEY_BYTES)
  // Before the file: a wrong master key must not leave a store behind that nobody can open.
  const record = await masterKey.wrap(storeKey)
  const engine = createEngine(options)
  const database = await engine.create()
  try {
    const sealing = createSealing(storeKey)
    const id = randomUUID()
    await database.transaction(async (transaction) => {
      // Another init may have been quicker since engine.create() looked: its facts must not be written over.
      const [row] = await transaction.query('SELECT count(*) AS facts FROM facts')
      if (Number(row?.['facts']) > 0) {
        throw new StorageError('STORE_EXISTS', 'another init has made the store meanwhile')
      }
      await writeFact(transaction, 'store_id', id)
      await writeFact(transaction, 'created_at', String(options.clock.now()))
      await writeFact(transaction, 'master_key', record)
      await writeFact(transaction, 'epoch', '0')
      await refreshDigest(transaction, sealing)
    })
    await engine.settle()
    return assemble(database, sealing, id)
  } catch (error) {
    await engine.discard(database)
    throw error
  } finally {
    storeKey.fill(0)
  }
}

/**
 * @throws StorageError STORE_MISSING, STORE_NEWER, STORE_CORRUPT, STORE_TAMPERED, MASTER_KEY_WRONG,
 * MASTER_KEY_UNREADABLE; the store is unchanged then
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const database = await createEngine(options).open()
  try {
    const { record, id } = await database.snapshot(async (reader) => ({
      record: await readFact(reader, 'master_key'),
      id: await readFact(reader, 'store_id'),
    }))
    const storeKey = await createMasterKey(options.masterKey).unwrap(record)
    const sealing = createSealing(storeKey)
    storeKey.fill(0)
    const store = assemble(database, sealing, id)
    if (options.allowsTampered !== true) await store.contents()
    return store
  } catch (error) {
    await database.close()
    throw error
  }
}

function assemble(database: Database, sealing: Sealing, id: string): Store {
  return {
    database,
    sealing,
    id,
    async change(work, options) {
      const result = await database.transaction(async (transaction) => {
        // A change on top of tampered rows would make them look genuine.
        const before = await loadContents(transaction, sealing)
        const quiet = options?.quiet === true
        const epoch = Math.max(before.epoch + (quiet ? 0 : 1), options?.minEpoch ?? 0)
        const done = await work(transaction, epoch)
        if (!quiet) await writeEpoch(transaction, sealing, epoch, options?.acceptsAny ?? false)
        await refreshDigest(transaction, sealing)
        return done
      })
      // It is committed: whatever cannot be overwritten now goes with the next erasure.
      if (options?.erases === true) await database.erase().catch(() => undefined)
      return result
    },
    bumpEpoch: () =>
      database.transaction(async (transaction) => {
        const epoch = Number(await readFact(transaction, 'epoch')) + 1
        await writeEpoch(transaction, sealing, epoch, false)
        return epoch
      }),
    contents: () => database.snapshot((reader) => loadContents(reader, sealing)),
    close: () => database.close(),
  }
}
