/** Kill switches, dead man's switches and restore requests, as rows of the control store. */
// SPDX-License-Identifier: Apache-2.0
import { toAsciiJson } from '../core/remark.ts'
import type { Reader, Row, SqlValue } from '../store/database.ts'
import type { EpochMark } from '../store/epochs.ts'
import { column, loadTable } from '../store/sealed-rows.ts'
import {
  DEAD_MAN_SWITCHES,
  RESTORATIONS,
  RESTORE_REQUESTS,
  type SealedTable,
  SWITCHES,
} from '../store/sealed-tables.ts'
import { readState } from '../store/sealed-state.ts'
import {
  deleteRow,
  insertRow,
  type SealedTransaction,
  updateRow,
} from '../store/sealed-transaction.ts'
import type { Sealing } from '../store/sealing.ts'
import type { Criteria, Direction, Scope } from '../core/scope.ts'
import { mapInSlices } from '../core/slices.ts'
import type { Actor, DeadManSwitch, Switch } from './model.ts'

/** Target of a restore request. */
export type RestoreTarget =
  | { readonly kind: 'switches'; readonly switchIds: readonly string[] }
  /**
   * Reopens a key store that its dead man's switch closed, or extends the switch: the key store
   * stays open for `ttlMs` from the restore.
   */
  | { readonly kind: 'reopen'; readonly keyStore: string; readonly ttlMs: number }
  | { readonly kind: 'end-deadman'; readonly keyStore: string }

export interface RestoreRequest extends Actor {
  readonly id: string
  readonly target: RestoreTarget
  readonly reason: string
  readonly requestedAt: number
  /** Earliest wall time at which the request may be carried out. */
  readonly readyAt: number
  /** Wall time from which the request can no longer be carried out. */
  readonly expiresAt: number
  /** Epoch of the store when the request was made. */
  readonly epoch: number
  /** The second person, and the epoch of the store at which this person approved the request. */
  readonly approval?: Actor & { readonly epoch: number }
}

/** The contents of the control state tables at one epoch. */
export interface ControlState {
  readonly epoch: number
  readonly mark: EpochMark
  readonly switches: readonly Switch[]
  readonly deadManSwitches: readonly DeadManSwitch[]
  readonly requests: readonly RestoreRequest[]
}

/** @throws StorageError STORE_TAMPERED */
export async function loadControlState(reader: Reader, sealing: Sealing): Promise<ControlState> {
  const state = await readState(reader, sealing)
  const { epoch, tag } = state
  const deadManSwitches = await loadTable(reader, sealing, DEAD_MAN_SWITCHES, state)
  return {
    epoch,
    mark: { epoch, tag },
    switches: await parse(await loadTable(reader, sealing, SWITCHES, state), parseSwitch),
    deadManSwitches: await parse(deadManSwitches, parseDeadManSwitch),
    requests: await parse(await loadTable(reader, sealing, RESTORATIONS, state), parseRequest),
  }
}

/** Number of rows that are parsed in one turn of the event loop. */
const PER_TURN = 500

function parse<T>(rows: readonly Row[], parseRow: (row: Row) => T): Promise<readonly T[]> {
  return mapInSlices(rows, PER_TURN, parseRow)
}

/** Reads and writes the tables inside one transaction. */
export class SwitchTable {
  readonly #transaction: SealedTransaction
  readonly #sealing: Sealing

  constructor(transaction: SealedTransaction, sealing: Sealing) {
    this.#transaction = transaction
    this.#sealing = sealing
  }

  async switches(): Promise<readonly Switch[]> {
    return parse(await this.#load(SWITCHES), parseSwitch)
  }

  async insertSwitch(one: Switch): Promise<void> {
    await insertRow(this.#transaction, this.#sealing, SWITCHES, fromSwitch(one))
  }

  async deleteSwitch(id: string): Promise<void> {
    await deleteRow(this.#transaction, this.#sealing, SWITCHES, { id })
  }

  async deadManSwitch(keyStore: string): Promise<DeadManSwitch | undefined> {
    const rows = (await this.#load(DEAD_MAN_SWITCHES)).map(parseDeadManSwitch)
    return rows.find((one) => one.keyStore === keyStore)
  }

  /** Inserts the switch, or overwrites the existing one. */
  async writeDeadManSwitch(one: DeadManSwitch): Promise<void> {
    const row = fromDeadManSwitch(one)
    if (await updateRow(this.#transaction, this.#sealing, DEAD_MAN_SWITCHES, row)) return
    await insertRow(this.#transaction, this.#sealing, DEAD_MAN_SWITCHES, row)
  }

  async deleteDeadManSwitch(keyStore: string): Promise<void> {
    await deleteRow(this.#transaction, this.#sealing, DEAD_MAN_SWITCHES, { key_store: keyStore })
  }

  async requests(): Promise<readonly RestoreRequest[]> {
    return parse(await this.#load(RESTORATIONS), parseRequest)
  }

  async insertRequest(one: RestoreRequest): Promise<void> {
    await insertRow(this.#transaction, this.#sealing, RESTORATIONS, fromRequest(one))
  }

  async updateRequest(one: RestoreRequest): Promise<void> {
    await updateRow(this.#transaction, this.#sealing, RESTORATIONS, fromRequest(one))
  }

  async deleteRequest(id: string): Promise<void> {
    await deleteRow(this.#transaction, this.#sealing, RESTORATIONS, { id })
  }

  /**
   * Removes requests of an earlier schema, which record neither an identity nor an epoch.
   * @returns their ids
   */
  async takeOldRequests(): Promise<readonly string[]> {
    const rows = await this.#load(RESTORE_REQUESTS)
    const ids = rows.map((row) => String(column(row, 'id')))
    for (const id of ids)
      await deleteRow(this.#transaction, this.#sealing, RESTORE_REQUESTS, { id })
    return ids
  }

  /**
   * Returns all rows of a table, verified to be complete and current.
   * @throws StorageError STORE_TAMPERED
   */
  #load(table: SealedTable): Promise<readonly Row[]> {
    return loadTable(this.#transaction, this.#sealing, table, this.#transaction.ledger)
  }
}

function fromSwitch(one: Switch): Row {
  const { scope } = one
  return {
    id: one.id,
    scope: scope.kind,
    key_store: 'keyStore' in scope ? (scope.keyStore ?? null) : null,
    key_id: scope.kind === 'key' ? scope.keyId : null,
    criteria: scope.kind === 'match' ? toAsciiJson(scope.criteria) : null,
    direction: one.direction,
    reason: one.reason,
    operator: one.operator,
    created_at: one.createdAt,
    epoch: one.epoch,
    until_at: one.until ?? null,
  }
}

/** The casts are safe: the row's MAC proves that `insertSwitch` wrote it. */
export function parseSwitch(row: Row): Switch {
  const until = column(row, 'until_at')
  return {
    id: String(column(row, 'id')),
    scope: parseScope(row),
    direction: column(row, 'direction') as Direction,
    reason: String(column(row, 'reason')),
    operator: String(column(row, 'operator')),
    createdAt: Number(column(row, 'created_at')),
    epoch: Number(column(row, 'epoch')),
    ...(until === null ? {} : { until: Number(until) }),
  }
}

function parseScope(row: Row): Scope {
  const keyStore = column(row, 'key_store')
  const kind = column(row, 'scope') as Scope['kind']
  switch (kind) {
    case 'all':
      return { kind }
    case 'key-store':
      return { kind, keyStore: String(keyStore) }
    case 'key':
      return { kind, keyStore: String(keyStore), keyId: String(column(row, 'key_id')) }
    case 'match': {
      const criteria = JSON.parse(String(column(row, 'criteria'))) as Criteria
      return { kind, criteria, ...(keyStore === null ? {} : { keyStore: String(keyStore) }) }
    }
  }
}

function fromDeadManSwitch(one: DeadManSwitch): Row {
  return {
    key_store: one.keyStore,
    ttl_ms: one.ttlMs,
    renewed_at: one.renewedAt,
    open_until: one.openUntil,
    reason: one.reason,
    operator: one.operator,
  }
}

export function parseDeadManSwitch(row: Row): DeadManSwitch {
  const { key_store, ttl_ms, renewed_at, open_until, reason, operator } = row as Record<
    string,
    SqlValue
  >
  return {
    keyStore: String(key_store),
    ttlMs: Number(ttl_ms),
    renewedAt: Number(renewed_at),
    openUntil: Number(open_until),
    reason: String(reason),
    operator: String(operator),
  }
}

function fromRequest(one: RestoreRequest): Row {
  return {
    id: one.id,
    target: JSON.stringify(one.target),
    reason: one.reason,
    operator: one.operator,
    identity: one.identity,
    requested_at: one.requestedAt,
    ready_at: one.readyAt,
    expires_at: one.expiresAt,
    epoch: one.epoch,
    approved_by: one.approval?.operator ?? null,
    approved_identity: one.approval?.identity ?? null,
    approved_epoch: one.approval?.epoch ?? null,
  }
}

export function parseRequest(row: Row): RestoreRequest {
  const approvedBy = column(row, 'approved_by')
  return {
    id: String(column(row, 'id')),
    target: JSON.parse(String(column(row, 'target'))) as RestoreTarget,
    reason: String(column(row, 'reason')),
    operator: String(column(row, 'operator')),
    identity: String(column(row, 'identity')),
    requestedAt: Number(column(row, 'requested_at')),
    readyAt: Number(column(row, 'ready_at')),
    expiresAt: Number(column(row, 'expires_at')),
    epoch: Number(column(row, 'epoch')),
    ...(approvedBy === null
      ? {}
      : {
          approval: {
            operator: String(approvedBy),
            identity: String(column(row, 'approved_identity')),
            epoch: Number(column(row, 'approved_epoch')),
          },
        }),
  }
}
