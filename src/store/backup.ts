/**
 * Writes and loads backups: a snapshot of all rows in one file that both engines can load, with a
 * signed manifest at the end. Rows keep their MACs and secrets stay wrapped, so a backup is as safe
 * as the store, and is verified when it is loaded.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { createSigner, type Signed, verifySigned } from '../core/signature.ts'
import {
  checkHeader,
  countsRows,
  FORMAT,
  type Header,
  invalid,
  type Lines,
  linesOf,
  type Manifest,
  parseLines,
  parseManifest,
  type Table,
  TABLES,
  VERSION,
} from './backup-file.ts'
import { unwrapKeysOf } from './backup-keys.ts'
import type { Reader, Row, Transaction } from './database.ts'
import { createEngine } from './engine.ts'
import { readMark } from './epochs.ts'
import { readEvents } from './event-log.ts'
import { readFact } from './facts.ts'
import { createKeyring, KeyChange } from './keyring.ts'
import { createMasterKey, syncFolder } from './master-key.ts'
import { MIGRATIONS } from './migrations/migrations.ts'
import { column, verifyAll } from './sealed-rows.ts'
import { FACTS, LAST_BACKUP } from './sealed-tables.ts'
import { readState } from './sealed-state.ts'
import type { Sealing } from './sealing.ts'
import { putRow } from './sealed-transaction.ts'
import type { Store, StoreOptions } from './store.ts'

/** Number of rows per SELECT and per INSERT. */
const PAGE = 100
const SIGNING = 'backup key'

export interface BackupOptions {
  readonly createdAt: number
  readonly release: string
  /** Called with the row count so far. */
  readonly onProgress?: (rows: number) => void
}

/**
 * Writes a new file with mode 0600. The contents are consistent even if the store is changing, and
 * durable once this resolves. Call verifyBackup afterwards.
 * @throws StorageError; a system error if the file exists or cannot be written
 */
export async function writeBackup(
  store: Store,
  path: string,
  options: BackupOptions,
): Promise<Signed<Manifest>> {
  let file: FileHandle | undefined
  const discard = async () => {
    if (file === undefined) return
    await file.close().catch(() => undefined)
    await unlink(path).catch(() => undefined)
    file = undefined
  }
  try {
    const signed = await store.database.snapshot(async (reader) => {
      // The snapshot is repeated if the store key is replaced in the meantime, so this removes the
      // file of an earlier attempt.
      await discard()
      file = await open(path, 'wx', 0o600)
      await store.refreshKeys(reader)
      const signed = await writeRows(reader, store, file, options)
      await file.sync()
      return signed
    })
    await file?.close()
    await syncFolder(path)
    return signed
  } catch (error) {
    await discard()
    throw error
  }
}

async function writeRows(
  reader: Reader,
  store: Store,
  file: FileHandle,
  { createdAt, release, onProgress }: BackupOptions,
): Promise<Signed<Manifest>> {
  const hash = createHash('sha256')
  const put = async (line: Header | Lines) => {
    const text = `${JSON.stringify(line)}\n`
    hash.update(text)
    await file.writeFile(text)
  }
  await put({ format: FORMAT, version: VERSION })
  const rows: Record<string, number> = {}
  let total = 0
  for (const table of TABLES) {
    rows[table.name] = 0
    let page: readonly Row[] = []
    do {
      page = await readPage(reader, table, page.at(-1))
      const [first] = page
      if (first === undefined) break
      const columns = Object.keys(first)
      await put({
        ...{ table: table.name, columns },
        rows: page.map((row) => columns.map((name) => column(row, name))),
      })
      rows[table.name] = (rows[table.name] ?? 0) + page.length
      total += page.length
      onProgress?.(total)
    } while (page.length === PAGE)
  }
  const { epoch, tag } = await readState(reader, store.sealing)
  const signer = createBackupSigner(store.sealing)
  const signed = signer.sign<Manifest>({
    ...{ kind: 'backup', storeId: store.id, epoch, tag, schema: MIGRATIONS.length },
    ...{ createdAt, release, rows, sha256: hash.digest('hex') },
  })
  await file.writeFile(`${JSON.stringify(signed)}\n`)
  return signed
}

function readPage(reader: Reader, { name, key }: Table, last: Row | undefined) {
  const order = key.join(', ')
  const after = last === undefined ? '' : `WHERE (${order}) > (${key.map(() => '?').join(', ')})`
  return reader.query(
    `SELECT * FROM ${name} ${after} ORDER BY ${order} LIMIT ${String(PAGE)}`,
    last === undefined ? [] : key.map((one) => column(last, one)),
  )
}

function createBackupSigner(sealing: Sealing) {
  const seed = sealing.derive(SIGNING)
  const signer = createSigner(seed, 'backup')
  seed.fill(0)
  return signer
}

/**
 * Loads a backup into a new store and verifies everything in it, in one transaction. The oldest
 * backups have schema version 8, and later migrations only add tables and columns with defaults.
 * Rows from earlier versions can therefore be inserted into the current tables, as if they had been
 * migrated.
 * @throws StorageError BACKUP_INVALID, STORE_EXISTS, STORE_TAMPERED, MASTER_KEY_WRONG; on failure,
 * no store is left behind
 */
export async function loadBackup(
  path: string,
  options: StoreOptions,
  onProgress?: (rows: number) => void,
): Promise<Manifest> {
  const isEscrow = options.masterKey.kind === 'escrow'
  const masterKey = await unwrapKeysOf(path, createMasterKey(options.masterKey))
  const engine = createEngine(options)
  const database = await engine.create()
  try {
    const manifest = await database.transaction(async (transaction) => {
      const { signed, sha256, rows } = await insertRows(transaction, path, onProgress)
      const { statement } = signed
      if (statement.sha256 !== sha256 || !countsRows(statement, rows)) {
        throw invalid(path, 'the rows do not match the manifest')
      }
      const record = await readFact(transaction, 'master_key')
      const id = await readFact(transaction, 'store_id')
      const storeKey = await masterKey.unwrap(record)
      const keyring = createKeyring({
        ...{ masterKey, clock: options.clock, record, storeKey },
        ...{ storeId: id, isEscrow },
      })
      storeKey.fill(0)
      const { sealing } = keyring
      await keyring.refresh(transaction).catch(async (error: unknown) => {
        if (!(error instanceof KeyChange)) throw error
        await keyring.load(error)
        await keyring.refresh(transaction)
      })
      if (!verifySigned(signed, createBackupSigner(sealing).publicKey, 'backup')) {
        throw invalid(path, 'the manifest was not signed by the store that the rows came from')
      }
      await verifyAll(transaction, sealing)
      await readEvents(transaction, sealing)
      const { epoch, tag } = await readState(transaction, sealing)
      const mark = await readMark(transaction, sealing, epoch)
      if (
        epoch !== statement.epoch ||
        tag !== statement.tag ||
        mark.tag !== tag ||
        id !== statement.storeId
      ) {
        throw invalid(path, 'the rows and the manifest have different epochs')
      }
      await database.checkSchema(transaction)
      return statement
    })
    await engine.settle()
    await database.close()
    return manifest
  } catch (error) {
    await engine.discard(database)
    throw error
  }
}

/**
 * Verifies a backup by loading it into a temporary store next to the file, then removes that store.
 * @throws the same errors as loadBackup
 */
export async function verifyBackup(
  path: string,
  { masterKey, clock }: Pick<StoreOptions, 'masterKey' | 'clock'>,
  onProgress?: (rows: number) => void,
): Promise<Manifest> {
  const scratch = `${path}.verify-${String(process.pid)}`
  try {
    return await loadBackup(path, { path: scratch, masterKey, clock }, onProgress)
  } finally {
    for (const end of ['', '-wal', '-shm']) await unlink(`${scratch}${end}`).catch(() => undefined)
  }
}

async function insertRows(
  transaction: Transaction,
  path: string,
  onProgress: ((rows: number) => void) | undefined,
) {
  const hash = createHash('sha256')
  const rows: Record<string, number> = Object.fromEntries(TABLES.map(({ name }) => [name, 0]))
  let before: string | undefined
  let isFirst = true
  let total = 0
  for await (const line of linesOf(path)) {
    if (before !== undefined) {
      hash.update(`${before}\n`)
      if (isFirst) checkHeader(path, before)
      else {
        const lines = parseLines(path, before)
        await insert(transaction, lines)
        rows[lines.table] = (rows[lines.table] ?? 0) + lines.rows.length
        total += lines.rows.length
        onProgress?.(total)
      }
      isFirst = false
    }
    before = line
  }
  return { signed: parseManifest(path, before ?? ''), sha256: hash.digest('hex'), rows }
}

async function insert(transaction: Transaction, { table, columns, rows }: Lines): Promise<void> {
  const one = `(${columns.map(() => '?').join(', ')})`
  await transaction.execute(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${rows.map(() => one).join(', ')}`,
    rows.flat(),
  )
}

/** Records the time of the last backup, for `status`. */
export async function recordBackup(store: Store, { createdAt, epoch }: Manifest): Promise<void> {
  const value = JSON.stringify({ createdAt, epoch })
  await store.change((transaction) =>
    putRow(transaction, store.sealing, FACTS, { name: LAST_BACKUP, value }),
  )
}
