/** An open store: its database, and the keys to its sealed contents. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { createAuditing, verifyFew } from './audit.ts'
import { StorageError, type Database, type Reader, type Row, type Transaction } from './database.ts'
import { createEngine, type StorePlace } from './engine.ts'
import { createMasterKey, type MasterKeySource } from './master-key.ts'
import { createTag, type EpochMark, writeEpoch } from './epochs.ts'
import { EVENTS_START } from './event-log.ts'
import { findFact, readFact, writeFact } from './facts.ts'
import { createFeed, type Feed } from './feed.ts'
import { createKeyring, followKeys, type Keyring } from './keyring.ts'
import { loadContents, loadTables, verifyAll, type StoreContents } from './sealed-rows.ts'
import { FACTS, type SealedTable } from './sealed-tables.ts'
import { notWritten, readState, writeState } from './sealed-state.ts'
import { insertRow, Ledger, type SealedTransaction } from './sealed-transaction.ts'
import { createSealing, type Sealing } from './sealing.ts'
import { upgradeSeals } from './upgrade.ts'

export interface Store {
  readonly database: Database
  readonly sealing: Sealing
  /** Id of the store. It never changes. New stores derive it from their key. */
  readonly id: string
  /**
   * Runs one durable change of sealed rows, which running servers then apply. Its cost does not
   * depend on the number of rows. It cannot make foreign rows look genuine, because the expected
   * sums change only by differences. A change with `erases` leaves no trace in the files of the
   * data it removed.
   * @param work receives the epoch that the store has afterwards
   */
  change<T>(
    work: (transaction: SealedTransaction, epoch: number) => Promise<T>,
    options?: ChangeOptions,
  ): Promise<T>
  /**
   * Raises only the epoch, whatever the state of the rows: servers that find a store that was
   * changed from outside refuse everything.
   * @throws StorageError STORE_TAMPERED if the database does not keep even that
   */
  bumpEpoch(): Promise<EpochMark>
  /** Returns a feed of these tables: all rows first, then every change. Each reader needs its own feed. */
  feed(...tables: readonly SealedTable[]): Feed
  /** Loads a new key of the store, if there is one. Call at each new epoch. @throws as Keyring.refresh */
  refreshKeys(reader: Reader): Promise<boolean>
  /** Returns keys and credentials, verified. @throws StorageError STORE_TAMPERED */
  contents(): Promise<StoreContents>
  /** Returns complete tables as of one moment, verified. @throws StorageError STORE_TAMPERED */
  tables(...tables: readonly SealedTable[]): Promise<readonly (readonly Row[])[]>
  /**
   * Verifies the schema and everything that is sealed, on separate connections and in slices.
   * @throws StorageError STORE_TAMPERED
   */
  audit(): Promise<void>
  /** Why the last audit failed; undefined once one has passed again. */
  readonly fault: StorageError | undefined
  close(): Promise<void>
}

export interface ChangeOptions {
  readonly erases?: boolean
  /** Set only by `control accept-epoch`: servers continue from here, whatever they saw before. */
  readonly acceptsAny?: boolean
  /** Minimum for the new epoch. */
  readonly minEpoch?: number
  /** Set only by `store rekey`: seals the state with a key other than the current one. */
  readonly sealing?: Sealing
}

export interface StoreOptions extends StorePlace {
  readonly masterKey: MasterKeySource
  readonly clock: Clock
  /**
   * Whether to open a store that was changed from outside, in order to raise its epoch so that
   * servers read it and refuse everything.
   */
  readonly allowsTampered?: boolean
}

const STORE_KEY_BYTES = 32

/** Creates an empty store with mode 0600. @throws StorageError STORE_EXISTS */
export async function createStore(options: StoreOptions): Promise<Store> {
  const masterKey = createMasterKey(options.masterKey)
  const storeKey = randomBytes(STORE_KEY_BYTES)
  // Wrapped before the file is created, so that a wrong master key leaves no store that cannot be
  // opened.
  const record = await masterKey.wrap(storeKey)
  const engine = createEngine(options)
  const database = await engine.create()
  try {
    const sealing = createSealing(storeKey)
    const id = toUuid(sealing.derive('store id'))
    const keyring = createKeyring({ masterKey, record, storeKey, storeId: id, isEscrow: false })
    await database.transaction(async (transaction) => {
      // Another init may have created the store since engine.create() looked. Its facts must not be
      // overwritten.
      const [row] = await transaction.query('SELECT count(*) AS facts FROM facts')
      if (Number(row?.['facts']) > 0) {
        throw new StorageError('STORE_EXISTS', 'another init created the store in the meantime')
      }
      const ledger = new Ledger(
        { epoch: 0, tag: '', tables: new Map(), events: { seq: 0, head: EVENTS_START } },
        { epoch: 0, tag: '' },
      )
      const facts = { store_id: id, created_at: String(options.clock.now()), master_key: record }
      for (const [name, value] of Object.entries(facts)) {
        await insertRow(withLedger(transaction, ledger), sealing, FACTS, { name, value })
      }
      await writeState(transaction, sealing, {
        ...{ epoch: 0, tag: '' },
        ...{ tables: ledger.tables, events: ledger.events },
      })
      await ledger.readBack(transaction, sealing)
      await database.checkSchema(transaction)
    })
    await engine.settle()
    return assemble(options, database, keyring, id)
  } catch (error) {
    await engine.discard(database)
    throw error
  } finally {
    storeKey.fill(0)
  }
}

/**
 * @throws StorageError STORE_MISSING, STORE_NEWER, STORE_CORRUPT, STORE_TAMPERED, MASTER_KEY_WRONG,
 * MASTER_KEY_UNREADABLE; the store is then unchanged
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { store, storeKey } = await openWithKey(options)
  storeKey.fill(0)
  return store
}

/** An open store, with the members needed only to change its keys. */
export interface StoreWithKeys {
  readonly store: Store
  /** 32 bytes, which the caller must overwrite. */
  readonly storeKey: Buffer
  readonly keyring: Keyring
}

/** @throws as openStore */
export async function openWithKey(options: StoreOptions): Promise<StoreWithKeys> {
  const engine = createEngine(options)
  const database = await engine.open()
  try {
    const { record, id } = await database.snapshot(async (reader) => ({
      record: await readFact(reader, 'master_key'),
      id: await readFact(reader, 'store_id'),
    }))
    const masterKey = createMasterKey(options.masterKey)
    const storeKey = await masterKey.unwrap(record)
    const isEscrow = options.masterKey.kind === 'escrow'
    const keyring = createKeyring({ masterKey, record, storeKey, storeId: id, isEscrow })
    try {
      await bringUp(database, keyring)
    } catch (error) {
      const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
      if (!isTampered || options.allowsTampered !== true) throw error
    }
    return { store: assemble(options, database, keyring, id), storeKey, keyring }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Seals rows written by an earlier release, and verifies the contents. */
async function bringUp(database: Database, keyring: Keyring): Promise<void> {
  const { sealing } = keyring
  if (!(await database.snapshot(hasState))) {
    await database.transaction(async (transaction) => {
      await database.checkSchema(transaction)
      await upgradeSeals(transaction, sealing)
      await verifyAll(transaction, sealing)
    })
  }
  await database.snapshot(async (reader) => {
    await database.checkSchema(reader)
    await keyring.refresh(reader)
    await verifyFew(reader, sealing)
  })
}

async function hasState(reader: Reader): Promise<boolean> {
  return (await findFact(reader, 'state')) !== undefined
}

/** RFC 9562, version 8: all bits come from the bytes, except for version and variant. */
function toUuid(bytes: Buffer): string {
  const id = Buffer.from(bytes.subarray(0, 16))
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x80, 6)
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8)
  return id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function withLedger(transaction: Transaction, ledger: Ledger): SealedTransaction {
  return {
    query: (sql, parameters) => transaction.query(sql, parameters),
    execute: (sql, parameters) => transaction.execute(sql, parameters),
    ledger,
  }
}

function assemble(place: StorePlace, opened: Database, keyring: Keyring, id: string): Store {
  const { sealing } = keyring
  const database = followKeys(opened, keyring)
  const auditing = createAuditing(place, database, keyring)
  const { judged } = auditing
  return {
    database,
    sealing,
    id,
    audit: auditing.audit,
    get fault() {
      return auditing.fault
    },
    async change(work, options) {
      const result = await database.transaction(async (transaction) => {
        await keyring.refresh(transaction)
        const before = await readState(transaction, sealing)
        const epoch = Math.max(before.epoch + 1, options?.minEpoch ?? 0)
        const ledger = new Ledger(before, { epoch, tag: createTag() })
        const done = await work(withLedger(transaction, ledger), epoch)
        const own = options?.sealing ?? sealing
        await writeEpoch(transaction, own, ledger, options?.acceptsAny ?? false)
        const { tables, events, tag } = ledger
        await writeState(transaction, own, { epoch, tag, tables, events })
        await ledger.readBack(transaction, sealing)
        // Checked at the end, when the written tables are locked, so that a planted object is
        // visible.
        await database.checkSchema(transaction)
        return done
      })
      // The change is committed. Data that cannot be overwritten now is overwritten by the next
      // erasure.
      if (options?.erases === true) await database.erase().catch(() => undefined)
      return result
    },
    async bumpEpoch() {
      const mark = await database.transaction(async (transaction) => {
        await keyring.refresh(transaction).catch(() => false)
        const next = {
          epoch: Number(await readFact(transaction, 'epoch')) + 1,
          tag: createTag(),
        }
        await writeEpoch(transaction, sealing, next, false)
        await writeFact(transaction, 'epoch', String(next.epoch))
        return next
      })
      // Checked after the commit, because a planted object may have reverted the change with it.
      if ((await database.epoch()) < mark.epoch) throw notWritten('facts epoch')
      return mark
    },
    feed(...tables) {
      // After a failed audit, the unchanged rows cannot be trusted either.
      return createFeed(
        (work) =>
          auditing.fault === undefined
            ? judged(database.snapshot(work))
            : Promise.reject(auditing.fault),
        sealing,
        tables,
      )
    },
    refreshKeys: (reader) => keyring.refresh(reader),
    contents: () => judged(database.snapshot((reader) => loadContents(reader, sealing))),
    tables: (...tables) =>
      judged(database.snapshot((reader) => loadTables(reader, sealing, tables))),
    async close() {
      await auditing.close()
      await database.close()
    },
  }
}
