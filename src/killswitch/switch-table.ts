/** Kill switches, dead man's switches and requests to restore, as rows of the control store. */
// SPDX-License-Identifier: Apache-2.0
import type { Reader, Row, SqlValue, Transaction } from '../store/database.ts'
import {
  checkDigest,
  column,
  deleteRow,
  insertRow,
  DEAD_MAN_SWITCHES,
  readFact,
  RESTORE_REQUESTS,
  selectRows,
  SWITCHES,
  updateRow,
} from '../store/sealed-rows.ts'
import type { Sealing } from '../store/sealing.ts'
import type { Criteria, Direction, DeadManSwitch, Scope, Switch } from './model.ts'

export interface RestoreRequest {
  readonly id: string
  readonly switchIds: readonly string[]
  readonly reason: string
  /** Who asked. */
  readonly operator: string
  readonly requestedAt: number
  /** Wall time before which it is not carried out. */
  readonly readyAt: number
  /** The second person. */
  readonly approvedBy?: string
}

/** What the gate goes by, as of one moment. */
export interface ControlState {
  readonly epoch: number
  readonly switches: readonly Switch[]
  readonly deadManSwitches: readonly DeadManSwitch[]
  readonly requests: readonly RestoreRequest[]
}

/** @throws StorageError STORE_TAMPERED */
export async function loadControlState(reader: Reader, sealing: Sealing): Promise<ControlState> {
  await checkDigest(reader, sealing)
  return {
    epoch: Number(await readFact(reader, 'epoch')),
    switches: (await selectRows(reader, sealing, SWITCHES)).map(parseSwitch),
    deadManSwitches: (await selectRows(reader, sealing, DEAD_MAN_SWITCHES)).map(parseDeadManSwitch),
    requests: (await selectRows(reader, sealing, RESTORE_REQUESTS)).map(parseRequest),
  }
}

/** The tables inside one transaction. */
export class SwitchTable {
  readonly #transaction: Transaction
  readonly #sealing: Sealing

  constructor(transaction: Transaction, sealing: Sealing) {
    this.#transaction = transaction
    this.#sealing = sealing
  }

  async switches(): Promise<readonly Switch[]> {
    return (await selectRows(this.#transaction, this.#sealing, SWITCHES)).map(parseSwitch)
  }

  async insertSwitch(one: Switch): Promise<void> {
    await insertRow(this.#transaction, this.#sealing, SWITCHES, fromSwitch(one))
  }

  async deleteSwitch(id: string): Promise<void> {
    await deleteRow(this.#transaction, SWITCHES, { id })
  }

  async deadManSwitch(keyStore: string): Promise<DeadManSwitch | undefined> {
    const where = { key_store: keyStore }
    const [row] = await selectRows(this.#transaction, this.#sealing, DEAD_MAN_SWITCHES, where)
    return row === undefined ? undefined : parseDeadManSwitch(row)
  }

  /** Inserts it, or writes over what was there. */
  async writeDeadManSwitch(one: DeadManSwitch): Promise<void> {
    const exists = (await this.deadManSwitch(one.keyStore)) !== undefined
    const write = exists ? updateRow : insertRow
    await write(this.#transaction, this.#sealing, DEAD_MAN_SWITCHES, fromDeadManSwitch(one))
  }

  async deleteDeadManSwitch(keyStore: string): Promise<void> {
    await deleteRow(this.#transaction, DEAD_MAN_SWITCHES, { key_store: keyStore })
  }

  async requests(): Promise<readonly RestoreRequest[]> {
    return (await selectRows(this.#transaction, this.#sealing, RESTORE_REQUESTS)).map(parseRequest)
  }

  async insertRequest(one: RestoreRequest): Promise<void> {
    await insertRow(this.#transaction, this.#sealing, RESTORE_REQUESTS, fromRequest(one))
  }

  async updateRequest(one: RestoreRequest): Promise<void> {
    await updateRow(this.#transaction, this.#sealing, RESTORE_REQUESTS, fromRequest(one))
  }

  async deleteRequest(id: string): Promise<void> {
    await deleteRow(this.#transaction, RESTORE_REQUESTS, { id })
  }
}

function fromSwitch(one: Switch): Row {
  const { scope } = one
  return {
    id: one.id,
    scope: scope.kind,
    key_store: 'keyStore' in scope ? (scope.keyStore ?? null) : null,
    key_id: scope.kind === 'key' ? scope.keyId : null,
    criteria: scope.kind === 'match' ? JSON.stringify(scope.criteria) : null,
    direction: one.direction,
    reason: one.reason,
    operator: one.operator,
    created_at: one.createdAt,
    epoch: one.epoch,
    until_at: one.until ?? null,
  }
}

/** The casts are safe: the row's code proves that it was written by `insertSwitch`. */
function parseSwitch(row: Row): Switch {
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

function parseDeadManSwitch(row: Row): DeadManSwitch {
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
    switch_ids: JSON.stringify(one.switchIds),
    reason: one.reason,
    operator: one.operator,
    requested_at: one.requestedAt,
    ready_at: one.readyAt,
    approved_by: one.approvedBy ?? null,
  }
}

function parseRequest(row: Row): RestoreRequest {
  const approvedBy = column(row, 'approved_by')
  return {
    id: String(column(row, 'id')),
    switchIds: JSON.parse(String(column(row, 'switch_ids'))) as readonly string[],
    reason: String(column(row, 'reason')),
    operator: String(column(row, 'operator')),
    requestedAt: Number(column(row, 'requested_at')),
    readyAt: Number(column(row, 'ready_at')),
    ...(approvedBy === null ? {} : { approvedBy: String(approvedBy) }),
  }
}
