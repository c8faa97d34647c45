/**
 * Tampers with every sealed table as the tables' owner, on both engines. The next audit must detect each edit,
 * deletion, insertion, replay and swap, and the next start must fail.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { type Row, StorageError } from '../../src/store/database.ts'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { selectRows } from '../../src/store/sealed-rows.ts'
import {
  FACTS,
  REMOVED_ROWS,
  SEALED_TABLES,
  type SealedTable,
} from '../../src/store/sealed-tables.ts'
import { deleteRow, putRow } from '../../src/store/sealed-transaction.ts'
import { createStore, openStore, type Store, type StoreOptions } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import {
  type Column,
  type Evidence,
  replaceAll,
  schemaColumns,
  tamperingsOf,
} from '../support/tamperings.ts'

t.setTimeout(600_000)

const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }
const COLUMNS = schemaColumns()
const server = await startPostgres(t)

interface Place {
  readonly options: StoreOptions
  /** Runs SQL statements in one transaction, behind Latchkey's back. */
  tamper(statements: readonly string[]): Promise<void>
}

const ENGINES: Readonly<Record<string, (t: Test) => Promise<Place>>> = {
  async SQLite(t) {
    const path = join(t.testdir(), 'store.db')
    let database: Sqlite.Database | undefined
    t.teardown(() => database?.close())
    return {
      options: { path, ...(await settingsOf(t)) },
      tamper(statements) {
        database ??= new Sqlite(path)
        database.pragma('foreign_keys = OFF')
        database.pragma('synchronous = OFF')
        database.exec(`BEGIN; ${statements.join('; ')}; COMMIT`)
        return Promise.resolve()
      },
    }
  },
  async PostgreSQL(t) {
    const { host, port, database, user } = await server.createDatabase()
    const postgres = { host, port, database, user }
    const client = new pg.Client(postgres)
    t.teardown(() => client.end())
    await client.connect()
    return {
      options: { postgres, ...(await settingsOf(t)) },
      async tamper(statements) {
        await client.query(`BEGIN; ${statements.join('; ')}; COMMIT`)
      },
    }
  },
}

async function settingsOf(t: Test) {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  return { masterKey: { kind: 'file', path }, clock: new FakeClock() } as const
}

const isTampered = (error: unknown) =>
  error instanceof StorageError && error.code === 'STORE_TAMPERED'

const columnsOf = ({ name }: SealedTable): readonly Column[] => COLUMNS.get(name) ?? []

/** Returns a row with values that identify it. Versions belong to the key with the same number. */
function makeRow(table: SealedTable, number: number): Row {
  return Object.fromEntries(
    [...table.key, ...table.columns].map((name) => {
      const isNumber = columnsOf(table).find((one) => one.name === name)?.isNumber
      return [name, isNumber === true ? 10 + number : `${name}-${String(number)}`]
    }),
  )
}

const FILLED = SEALED_TABLES.filter((table) => table !== REMOVED_ROWS)
const CHANGED = 1
const REMOVED = 3

/** Writes three rows to each table, then changes the first and deletes the last. */
async function collectEvidence(store: Store): Promise<readonly Evidence[]> {
  const { sealing, database } = store
  const keyOf = (table: SealedTable, row: Row) =>
    Object.fromEntries(table.key.map((name) => [name, row[name] ?? null]))
  const remove = (numbers: readonly number[]) =>
    store.change(async (transaction) => {
      // Delete versions before their keys.
      for (const table of FILLED.toReversed()) {
        for (const number of numbers) {
          await deleteRow(transaction, sealing, table, keyOf(table, makeRow(table, number)))
        }
      }
    })
  const write = (numbers: readonly number[], change: (row: Row, table: SealedTable) => Row) =>
    store.change(async (transaction) => {
      for (const table of FILLED) {
        for (const number of numbers) {
          await putRow(transaction, sealing, table, change(makeRow(table, number), table))
        }
      }
    })
  const readAll = () =>
    database.snapshot(async (reader) => {
      const found = new Map<SealedTable, readonly Row[]>()
      for (const table of SEALED_TABLES) {
        found.set(table, await selectRows(reader, sealing, table))
      }
      return found
    })

  await write([1, 2, REMOVED, 4], (row) => row)
  await remove([4])
  const before = await readAll()
  await write([CHANGED], (row, table) => {
    const [name = ''] = table.columns
    const value = row[name]
    return { ...row, [name]: typeof value === 'number' ? value + 5 : 'changed' }
  })
  await write([4], (row) => row)
  await remove([REMOVED, 4])
  const now = await readAll()

  return SEALED_TABLES.map((table) => {
    const earlierRows = before.get(table) ?? []
    const all = now.get(table) ?? []
    const find = (rows: readonly Row[], row: Row | undefined) =>
      rows.find((one) => table.key.every((name) => one[name] === row?.[name]))
    const earlier = earlierRows.find((row) => {
      const after = find(all, row)
      return after !== undefined && after['mac'] !== row['mac']
    })
    const one = find(all, earlier)
    const two = all.find((row) => row !== one)
    if (earlier === undefined || one === undefined || two === undefined) {
      throw new TypeError(`too few rows: ${table.name}`)
    }
    const removed = earlierRows.find((row) => find(all, row) === undefined)
    const columns = columnsOf(table)
    return {
      ...{ table, columns, all, one, two },
      ...{ earlier, allEarlier: earlierRows, removed },
    }
  })
}

for (const [name, open] of Object.entries(ENGINES)) {
  void t.test(`${name}: tampering with each sealed table`, async (t) => {
    const { options, tamper } = await open(t)
    const store = await createStore(options)
    t.teardown(() => store.close())
    const everything = await collectEvidence(store)
    await store.audit()
    // The tampering deletes and copies versions without their keys, so foreign key checks are disabled in this session.
    if (name === 'PostgreSQL') await tamper(['SET session_replication_role = replica'])
    let count = 0
    for (const evidence of everything) {
      const { table } = evidence
      const cases = Object.entries(tamperingsOf(evidence))
      const isNoticed: Record<string, boolean> = {}
      for (const [what, statements] of cases) {
        await tamper(statements)
        const error = await store.audit().catch((thrown: unknown) => thrown)
        isNoticed[what] = isTampered(error) && store.fault === error
        await tamper(replaceAll(table, evidence.all))
        await store.audit()
      }
      t.same(
        cases.map(([what]) => what).filter((what) => isNoticed[what] !== true),
        [],
        `${table.name}: the next audit notices each of ${String(cases.length)}`,
      )
      for (const kind of ['edit', 'delete', 'insert', 'replay', 'swap']) {
        const [what, statements] = cases.find(([what]) => what.startsWith(kind)) ?? ['', []]
        t.ok(statements.length > 0, `${table.name}: ${kind}`)
        // Opening a store runs the same verification code, so one kind of tampering is enough here.
        if (kind !== 'replay') continue
        await tamper(statements)
        await t.rejects(openStore(options), TAMPERED, `${table.name}: no start after ${what}`)
        await tamper(replaceAll(table, evidence.all))
      }
      count += cases.length
    }
    t.equal(store.fault, undefined, 'the store is again as Latchkey wrote it')
    t.ok(count > 250, `${String(count)} cases`)

    const rest = "name IN ('epoch', 'state')"
    const facts = await store.database.snapshot((reader) =>
      reader.query(`SELECT name, value, changed_epoch, mac FROM facts WHERE ${rest}`),
    )
    const reset = replaceAll({ ...FACTS, except: rest }, facts)
    const edit = (fact: string) => `UPDATE facts SET value = 'AAAA' WHERE name = '${fact}'`
    for (const [what, statements] of Object.entries({
      'the state is gone': ["DELETE FROM facts WHERE name = 'state'"],
      'the epoch is gone': ["DELETE FROM facts WHERE name = 'epoch'"],
      'the state opens with no key, and the key record with no master key': [
        ...[edit('state'), edit('master_key')],
      ],
      'every fact is gone': ['DELETE FROM facts'],
    })) {
      await tamper(statements)
      await t.rejects(store.audit(), { name: 'StorageError' }, what)
      t.ok(store.fault, `${what}: servers refuse`)
      await t.rejects(openStore(options), /./, `${what}: no start`)
      await tamper([...replaceAll(FACTS, everything[0]?.all ?? []), ...reset])
      await store.audit()
    }
  })
}
