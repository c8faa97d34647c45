/**
 * The registry of running instances. A sealed change registers each serving process, so a
 * registration cannot be removed unnoticed. A second row, with a MAC, says what the process has
 * applied; if that row is missing or invalid, the instance counts as silent (docs/revocation.md).
 */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices } from '../../core/slices.ts'
import type { ExpectedQuery, Reader, Row, Transaction } from '../../store/database.ts'
import { column, loadTable } from '../../store/sealed-rows.ts'
import { FACTS, REGISTRATIONS } from '../../store/sealed-tables.ts'
import { readState, type SealedState } from '../../store/sealed-state.ts'
import {
  deleteRow,
  insertRow,
  putRow,
  type SealedTransaction,
} from '../../store/sealed-transaction.ts'
import type { Sealing } from '../../store/sealing.ts'
import type { Store } from '../../store/store.ts'
import { reopenWriter } from '../../usage/version-table.ts'
import type { GateErrorCode } from '../model.ts'
import { HEART_COLUMNS, type Heartbeat, parseHeart, sealHeart, SILENT } from './heartbeat.ts'

/** The fixed part of an instance's row. */
export interface InstanceIdentity {
  /** Random id, new for each process. */
  readonly id: string
  /** Id of the `latchkey serve` that the process belongs to; all its workers have the same id. */
  readonly group: string
  readonly host: string
  readonly pid: number
  /** Worker number, starting at 1; 0 if there are no workers. */
  readonly worker: number
  /** Latchkey's version. */
  readonly version: string
  readonly leaseMs: number
}

/** Times are milliseconds since the Unix epoch, by the database's wall clock. */
export interface Instance extends InstanceIdentity, Heartbeat {
  /**
   * False if the heartbeat row is missing or its MAC does not verify; the instance then counts as
   * silent.
   */
  readonly isGenuine: boolean
  /**
   * Epoch at which the registration was last written; -1 if there is no registration, as in earlier
   * releases.
   */
  readonly registeredEpoch: number
  /**
   * True while other instances consider this one dead: unless it registers again, its registration
   * is removed one lease later.
   */
  readonly isDismissed: boolean
  readonly startedAt: number
  readonly seenAt: number
  readonly ackedAt: number
}

/**
 * Name of the stored value that holds the first group that served from this store; absent until a
 * group has served.
 */
export const FIRST_GROUP = 'first_group'

/**
 * Registers an instance. The registration is durable before the promise resolves, so every later
 * kill waits for this instance.
 * @throws StorageError
 */
export async function register(
  store: Store,
  me: InstanceIdentity,
  highEpoch: number,
): Promise<void> {
  const { sealing, database } = store
  const heart = { ...SILENT, highEpoch }
  const now = database.nowSql
  await store.change(write, { isQuiet: true })

  async function write(transaction: SealedTransaction): Promise<void> {
    const [found] = await transaction.query(
      `SELECT ${now} AS now, (SELECT value FROM facts WHERE name = ?) AS first_group`,
      [FIRST_GROUP],
    )
    const { id, group: grp, leaseMs: lease_ms, host, pid, worker, version } = me
    const row = { id, grp, host, pid, worker, version, lease_ms, dismissed: 0 }
    await putRow(transaction, sealing, REGISTRATIONS, {
      ...row,
      started_at: Number(found?.['now']),
    })
    if (found?.['first_group'] === null) {
      await insertRow(transaction, sealing, FACTS, { name: FIRST_GROUP, value: me.group })
    }
    await reopenWriter(transaction, id)
    await transaction.execute('DELETE FROM instances WHERE id = ?', [id])
    await transaction.execute(
      `INSERT INTO instances (id, grp, host, pid, worker, version, lease_ms, started_at, seen_at, acked_at,
         ${HEART_COLUMNS.join(', ')}, mac)
       VALUES (?, ?, ?, ?, ?, ?, ?, ${now}, ${now}, ${now}, ${HEART_COLUMNS.map(() => '?').join(', ')}, ?)`,
      [id, grp, host, pid, worker, version, lease_ms, ...sealHeart(sealing, me, heart)],
    )
  }
}

/**
 * Loads all registered instances, verified against the table's sum, and the instances of earlier
 * releases, which have a row but no registration.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadInstances(
  reader: Reader,
  sealing: Sealing,
  state?: Pick<SealedState, 'tables'>,
): Promise<readonly Instance[]> {
  const of = state ?? (await readState(reader, sealing))
  return listInstances(reader, sealing, await loadTable(reader, sealing, REGISTRATIONS, of))
}

/** The query of `listInstances`. */
export const INSTANCE_ROWS: ExpectedQuery = {
  sql: 'SELECT * FROM instances ORDER BY host, grp, worker, id',
  parameters: [],
}

/** @param registrations verified rows of REGISTRATIONS */
export async function listInstances(
  reader: Reader,
  sealing: Sealing,
  registrations: readonly Row[],
): Promise<readonly Instance[]> {
  const rows = new Map<string, Row>()
  for (const row of await reader.query(INSTANCE_ROWS.sql)) {
    rows.set(String(column(row, 'id')), row)
  }
  const known = new Map(registrations.map((row) => [String(column(row, 'id')), row]))
  const ids = [...rows.keys(), ...[...known.keys()].filter((id) => !rows.has(id))]
  const instances: Instance[] = []
  await forEachInSlices(ids, SLICE, (id) => {
    instances.push(parse(sealing, known.get(id), rows.get(id)))
  })
  return instances
}

/** A row of an instance that was verified, and its meaning. */
interface VerifiedRow {
  readonly row: Row
  readonly instance: Instance
}

/**
 * Returns a function that lists the instances repeatedly, without their registrations. It verifies
 * only the rows that have changed since its last call. A kill reads all rows of a fleet many times
 * a second, on a machine that may also have to serve.
 */
export function createInstanceList(
  sealing: Sealing,
): (reader: Reader) => Promise<readonly Instance[]> {
  const verified = new Map<string, VerifiedRow>()

  function find(row: Row): Instance {
    const id = String(column(row, 'id'))
    const before = verified.get(id)
    if (before !== undefined && isSame(before.row, row)) return before.instance
    const instance = parse(sealing, undefined, row)
    // A row that does not verify may do so later, once this process has loaded a new key.
    if (instance.isGenuine) verified.set(id, { row, instance })
    return instance
  }

  return async (reader) => {
    const instances: Instance[] = []
    const rows = await reader.query(INSTANCE_ROWS.sql)
    await forEachInSlices(rows, SLICE, (row) => instances.push(find(row)))
    return instances
  }
}

function isSame(a: Row, b: Row): boolean {
  return Object.keys(b).every((name) => a[name] === b[name])
}

/** Number of heartbeats verified in one turn of the event loop. */
const SLICE = 100

/** The part of a heartbeat that shows whether an instance is alive. */
export interface Beat {
  readonly id: string
  readonly beat: number
  /**
   * Whether the row says that the store was changed from outside. The row's MAC is not verified.
   */
  readonly saysLost: boolean
}

/**
 * Reads the heartbeats and the store's epoch without verifying them. Every instance does this
 * often, so it is a single statement that returns little data.
 */
export async function readBeats({
  database,
}: Pick<Store, 'database'>): Promise<{ readonly epoch: number; readonly beats: readonly Beat[] }> {
  const lost: GateErrorCode = 'STORE_LOST'
  const rows = await database.read(
    `SELECT id, beat, CASE WHEN reason = ? THEN 1 ELSE 0 END AS lost,
       (SELECT value FROM facts WHERE name = 'epoch') AS epoch FROM instances`,
    [lost],
  )
  return {
    epoch: Number(rows[0]?.['epoch'] ?? NaN),
    beats: rows.map((row) => ({
      id: String(column(row, 'id')),
      beat: Number(column(row, 'beat')),
      saysLost: Number(column(row, 'lost')) === 1,
    })),
  }
}

/** Returns the instances with these ids that have a row. */
export async function readInstances(
  { database, sealing }: Pick<Store, 'database' | 'sealing'>,
  ids: readonly string[],
  registrations: ReadonlyMap<string, Row>,
): Promise<readonly Instance[]> {
  const instances: Instance[] = []
  for (let at = 0; at < ids.length; at += SLICE) {
    const some = ids.slice(at, at + SLICE)
    const places = some.map(() => '?').join(', ')
    for (const row of await database.read(`SELECT * FROM instances WHERE id IN (${places})`, some))
      instances.push(parse(sealing, registrations.get(String(column(row, 'id'))), row))
  }
  return instances
}

/** Reports whether this instance is registered and not dismissed. */
export function isRegistered(registrations: readonly Row[], id: string): boolean {
  const own = registrations.find((row) => row['id'] === id)
  return own !== undefined && column(own, 'dismissed') === 0
}

/** Removes an instance's own registration; call it when the gate is closed permanently. */
export async function deregister(store: Store, id: string): Promise<void> {
  await store.change((transaction) => removeRegistration(transaction, store.sealing, id), {
    isQuiet: true,
  })
}

/** Removes a row that has no registration, unless its heartbeat has changed. */
export async function removeRow(
  { database }: Store,
  { id, beat }: Pick<Instance, 'id' | 'beat'>,
): Promise<void> {
  await database.heartbeat('DELETE FROM instances WHERE id = ? AND beat = ? RETURNING id', [
    ...[id, beat],
  ])
}

/** Removes a registration and the row of its instance. */
export async function removeRegistration(
  transaction: SealedTransaction,
  sealing: Sealing,
  id: string,
): Promise<void> {
  await deleteRow(transaction, sealing, REGISTRATIONS, { id })
  await (transaction as Transaction).execute('DELETE FROM instances WHERE id = ?', [id])
}

function parse(sealing: Sealing, registration: Row | undefined, row: Row | undefined): Instance {
  const number = (name: string, from: Row) => Number(column(from, name))
  const identity = registration ?? row ?? {}
  const leaseMs = number('lease_ms', identity)
  const id = String(column(identity, 'id'))
  const heart = parseHeart(sealing, { id, leaseMs }, row)
  const text = (name: string) => String(column(identity, name))
  return {
    ...{ id, group: text('grp'), host: text('host'), version: text('version') },
    pid: number('pid', identity),
    worker: number('worker', identity),
    // A lease counts only if a registration or a MAC covers it.
    leaseMs: registration === undefined && !heart.isGenuine ? 0 : leaseMs,
    startedAt: number('started_at', identity),
    registeredEpoch: registration === undefined ? -1 : number('changed_epoch', registration),
    isDismissed: registration !== undefined && number('dismissed', registration) !== 0,
    seenAt: row === undefined ? 0 : number('seen_at', row),
    ackedAt: row === undefined ? 0 : number('acked_at', row),
    ...heart,
  }
}
