/** An open store: its database and the keys to its sealed contents. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { createAuditing, verifyFew } from './audit.ts'
import { type Changes, createChanges, withLedger } from './change.ts'
import { loadContents, type StoreContents } from './contents.ts'
import { isTampered, StorageError, type Database, type Reader, type Row } from './database.ts'
import { createEngine, type StorePlace } from './engine.ts'
import { createMasterKey, type MasterKeySource } from './master-key.ts'
import { EVENTS_START } from './event-log.ts'
import { findFact, readFact } from './facts.ts'
import { createFeed, type Feed } from './feed.ts'
import { followKeys } from './follow-keys.ts'
import { createKeyring, type Keyring } from './keyring.ts'
import { loadTables, scanTables, type TableScan, verifyAll } from './sealed-rows.ts'
import { FACTS, type SealedTable } from './sealed-tables.ts'
import { writeState } from './sealed-state.ts'
import { insertRow, Ledger } from './sealed-transaction.ts'
import { createSealing, type Sealing } from './sealing.ts'
import { upgradeSeals } from './upgrade.ts'

export interface Store extends Changes {
  readonly database: Database
  readonly sealing: Sealing
  /** The store's id, which never changes. A new store derives it from its key. */
  readonly id: string
  /**
   * Returns a feed for these tables: all rows first, then every change. Each reader needs its own
   * feed.
   */
  feed(...tables: readonly SealedTable[]): Feed
  /** Milliseconds that the feeds have spent reading and verifying. */
  readonly readMs: number
  /**
   * Loads the store's new key, if there is one. Call at each new epoch.
   * @throws the same errors as Keyring.refresh
   */
  refreshKeys(reader: Reader): Promise<boolean>
  /**
   * The reason why the store's current key could not be loaded, so that this process cannot read
   * the store; undefined once a call to refreshKeys has succeeded. Unlike `fault`, it is not
   * evidence of tampering, and it clears once the master key is usable.
   */
  readonly missingKey: unknown
  /**
   * Whether there is an announced key that this process has not loaded. The store is usable without
   * it, but this process cannot verify heartbeats from instances that have the key.
   */
  readonly lacksNextKey: boolean
  /**
   * Loads the announced key, if there is one. This can take as long as the master key's token takes
   * to unwrap a key.
   * @throws the same errors as Keyring.loadNext
   */
  loadNextKey(): Promise<void>
  /**
   * Returns the keys and credentials after verifying them.
   * @throws StorageError STORE_TAMPERED
   */
  contents(): Promise<StoreContents>
  /**
   * Returns complete tables from one snapshot, after verifying them.
   * @throws StorageError STORE_TAMPERED
   */
  tables(...tables: readonly SealedTable[]): Promise<readonly (readonly Row[])[]>
  /**
   * Reads complete tables from one snapshot, page by page, without keeping any rows in memory.
   * @throws StorageError STORE_TAMPERED
   */
  scan(...scans: readonly TableScan[]): Promise<void>
  /**
   * Runs several SELECTs on one snapshot. An error that shows tampering becomes the store's `fault`.
   * @throws the errors of `work`
   */
  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T>
  /**
   * Verifies the schema and all sealed data in slices, on separate connections.
   * @throws StorageError STORE_TAMPERED
   */
  audit(): Promise<void>
  /** Reason for the last audit failure; undefined once an audit has passed again. */
  readonly fault: StorageError | undefined
  close(): Promise<void>
}

export interface StoreOptions extends StorePlace {
  readonly masterKey: MasterKeySource
  readonly clock: Clock
  /**
   * Whether to open a tampered store, in order to raise its epoch so that servers reread it and
   * refuse all requests.
   */
  readonly allowsTampered?: boolean
  /** Called with each new value of `Store.fault`. Must not throw. */
  readonly onFault?: (fault: StorageError | undefined) => void
}

const STORE_KEY_BYTES = 32

/** Creates an empty store with mode 0600. @throws StorageError STORE_EXISTS */
export async function createStore(options: StoreOptions): Promise<Store> {
  const masterKey = createMasterKey(options.masterKey)
  const storeKey = randomBytes(STORE_KEY_BYTES)
  // Wrap the key before creating the file, so that an unusable master key does not leave a store
  // that cannot be opened.
  const record = await masterKey.wrap(storeKey)
  const engine = createEngine(options)
  const database = await engine.create()
  try {
    const sealing = createSealing(storeKey)
    const id = toUuid(sealing.derive('store id'))
    const { clock } = options
    const keyring = createKeyring({
      ...{ masterKey, clock, record, storeKey, storeId: id },
      isEscrow: false,
    })
    await database.transaction(async (transaction) => {
      // Another `init` may have created the store since engine.create() checked. Its records must
      // not be overwritten.
      const [row] = await transaction.query('SELECT count(*) AS facts FROM facts')
      if (Number(row?.['facts']) > 0) {
        throw new StorageError(
          'STORE_EXISTS',
          'another latchkey init created the store in the meantime',
        )
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
    return assemble(options, followKeys(database, keyring), keyring, id)
  } catch (error) {
    await engine.discard(database)
    throw error
  } finally {
    storeKey.fill(0)
  }
}

/**
 * @throws StorageError STORE_MISSING, STORE_NEWER, STORE_CORRUPT, STORE_TAMPERED, MASTER_KEY_WRONG,
 * MASTER_KEY_UNREADABLE; the store is left unchanged
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { store, storeKey } = await openWithKey(options)
  storeKey.fill(0)
  return store
}

/** An open store, along with everything that is needed to change its keys. */
export interface StoreWithKeys {
  readonly store: Store
  /** 32 bytes, which the caller must zero after use. */
  readonly storeKey: Buffer
  /** The stored record `master_key`, from which `storeKey` was unwrapped. */
  readonly record: string
  readonly keyring: Keyring
}

/** @throws the same errors as openStore */
export async function openWithKey(options: StoreOptions): Promise<StoreWithKeys> {
  const engine = createEngine(options)
  const opened = await engine.open()
  try {
    const { record, id } = await opened.snapshot(async (reader) => ({
      record: await readFact(reader, 'master_key'),
      id: await readFact(reader, 'store_id'),
    }))
    const masterKey = createMasterKey(options.masterKey)
    const storeKey = await masterKey.unwrap(record)
    const isEscrow = options.masterKey.kind === 'escrow'
    const { clock } = options
    const keyring = createKeyring({ masterKey, clock, record, storeKey, storeId: id, isEscrow })
    const database = followKeys(opened, keyring)
    try {
      await bringUp(database, keyring)
    } catch (error) {
      if (!isTampered(error) || options.allowsTampered !== true) throw error
    }
    // Other instances may already authenticate their heartbeats with the announced key. If loading
    // it fails, those instances merely appear silent.
    if (keyring.lacksNext) await loadNextKey(database, keyring).catch(() => undefined)
    return { store: assemble(options, database, keyring, id), storeKey, record, keyring }
  } catch (error) {
    await opened.close()
    throw error
  }
}

/** Seals rows written by an earlier release, then verifies the contents. */
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

/** @throws the same errors as Keyring.loadNext */
async function loadNextKey(database: Database, keyring: Keyring): Promise<void> {
  const refresh = (reader: Reader) => keyring.refresh(reader)
  if (!keyring.lacksNext) await database.snapshot(refresh)
  if (!keyring.lacksNext) return
  await keyring.loadNext()
  await database.snapshot(refresh)
}

async function hasState(reader: Reader): Promise<boolean> {
  return (await findFact(reader, 'state')) !== undefined
}

/** A version 8 UUID (RFC 9562): all bits are custom except the version and the variant. */
function toUuid(bytes: Buffer): string {
  const id = Buffer.from(bytes.subarray(0, 16))
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x80, 6)
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8)
  return id.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function assemble(place: StoreOptions, database: Database, keyring: Keyring, id: string): Store {
  const { sealing } = keyring
  const auditing = createAuditing({ place, database, keyring, onFault: place.onFault })
  const { judged } = auditing
  let loadingNext: Promise<void> | undefined
  let readMs = 0
  return {
    database,
    sealing,
    id,
    audit: auditing.audit,
    get fault() {
      return auditing.fault
    },
    ...createChanges(database, keyring),
    feed(...tables) {
      // After a failed audit, unchanged rows cannot be trusted either, so an audit must pass first.
      const snapshot: Database['snapshot'] = async (work, expected) => {
        await auditing.clear()
        const startedAt = place.clock.monotonic()
        return judged(database.snapshot(work, expected)).finally(() => {
          readMs += place.clock.monotonic() - startedAt
        })
      }
      return createFeed(snapshot, sealing, tables)
    },
    get readMs() {
      return readMs
    },
    refreshKeys: (reader) => keyring.refresh(reader),
    get missingKey() {
      return keyring.missing
    },
    get lacksNextKey() {
      return keyring.lacksNext
    },
    loadNextKey() {
      loadingNext ??= loadNextKey(database, keyring).finally(() => {
        loadingNext = undefined
      })
      return loadingNext
    },
    contents: () => judged(database.snapshot((reader) => loadContents(reader, sealing))),
    tables: (...tables) =>
      judged(database.snapshot((reader) => loadTables(reader, sealing, tables))),
    scan: (...scans) => judged(database.snapshot((reader) => scanTables(reader, sealing, scans))),
    snapshot: (work) => judged(database.snapshot(work)),
    async close() {
      await auditing.close()
      await database.close()
    },
  }
}
