/**
 * Manages operators, groups and tokens in the control store. A group gives its members a role. An
 * operator can have a role of its own in addition to its groups' roles. Tokens are stored as
 * hashes.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { LatchkeyError } from '../../core/errors.ts'
import type { AdminRole, Grant } from '../../core/role.ts'
import { Secret } from '../../core/secret.ts'
import type { Reader, Row } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import { column, selectRows } from '../../store/sealed-rows.ts'
import { ADMIN_TOKENS, OPERATORS } from '../../store/sealed-tables.ts'
import {
  type SealedTransaction,
  deleteRow,
  insertRow,
  putRow,
  updateRow,
} from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'

export type OperatorErrorCode =
  | 'OPERATOR_NOT_FOUND' // no operator or group has this name
  | 'OPERATOR_INVALID' // a name is malformed, or an operator has neither a role nor a group
  | 'TOKEN_NOT_FOUND' // no token has this id

export class OperatorError extends LatchkeyError<OperatorErrorCode> {
  override readonly name = 'OperatorError'
}

export interface OperatorRecord {
  readonly name: string
  readonly kind: 'person' | 'group'
  /** Absent for a person who has roles only through groups. */
  readonly role?: AdminRole
  /** Key stores that `role` is limited to; absent if the role covers all key stores. */
  readonly keyStores?: readonly string[]
  /** Names of the groups that the operator belongs to. */
  readonly groups: readonly string[]
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number
  readonly createdBy: string
}

export type OperatorOrder = Omit<OperatorRecord, 'createdAt' | 'createdBy'>

export interface TokenRecord {
  readonly id: string
  readonly operator: string
  readonly status: 'ACTIVE' | 'EXPIRED' | 'REVOKED'
  /** Milliseconds since the Unix epoch, like the times below. */
  readonly createdAt: number
  readonly createdBy: string
  /**
   * False if another caller created the token through a listener. Such a token does not prove who
   * is calling, so it cannot be used to request or approve a retirement.
   */
  readonly isPersonal: boolean
  readonly expiresAt?: number
  readonly revokedAt?: number
  readonly uses: number
  readonly lastUsedAt?: number
}

export interface TokenOrder {
  readonly operator: string
  readonly expiresAt?: number
  /**
   * Set by the listener. The default is true, because the holder of the master key vouches for the
   * token.
   */
  readonly isPersonal?: boolean
}

export interface OperatorDirectory {
  operators(): Promise<readonly OperatorRecord[]>
  /** Adds an operator or a group, or replaces its roles. @throws OperatorError */
  put(order: OperatorOrder, by: string): Promise<OperatorRecord>
  /** Removes an operator and revokes its tokens, or removes a group. @throws OperatorError */
  remove(name: string, by: string): Promise<void>
  tokens(): Promise<readonly TokenRecord[]>
  /** Returns the only copy of the token. @throws OperatorError OPERATOR_NOT_FOUND */
  createToken(
    order: TokenOrder,
    by: string,
  ): Promise<{ readonly id: string; readonly token: Secret }>
  /** @throws OperatorError TOKEN_NOT_FOUND */
  revokeToken(id: string, by: string): Promise<void>
}

/** A fixed prefix lets secret scanners find a leaked token. */
export const TOKEN_PREFIX = 'latchkey_'
const TOKEN_BYTES = 32
const ID_BYTES = 6
/** Prefix of `created_by` in the row of a token that another caller created through a listener. */
const IMPERSONAL = 'listener:'
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/

/** Returns a token of 256 random bits, so that its hash needs neither a salt nor a slow function. */
export function createToken(): { readonly token: string; readonly sha256: string } {
  const token = TOKEN_PREFIX + randomBytes(TOKEN_BYTES).toString('base64url')
  return { token, sha256: createHash('sha256').update(token).digest('hex') }
}

/** @throws StorageError from each method of the directory */
export function createDirectory(store: Store, clock: Clock): OperatorDirectory {
  const { sealing } = store

  function change<T>(
    by: string,
    work: (
      transaction: SealedTransaction,
      note: (kind: string, detail: Readonly<Record<string, unknown>>) => Promise<unknown>,
    ) => Promise<T>,
  ): Promise<T> {
    return store.change((transaction, epoch) => {
      const about = { at: clock.now(), epoch, operator: by }
      return work(transaction, (kind, detail) =>
        appendEvent(transaction, sealing, { ...about, kind, detail }),
      )
    })
  }

  async function find(reader: Reader, name: string): Promise<OperatorRecord> {
    const [row] = await selectRows(reader, sealing, OPERATORS, { name })
    if (row !== undefined) return toOperator(row)
    throw new OperatorError('OPERATOR_NOT_FOUND', `there is no operator or group ${name}`, {
      hint: 'run latchkey operators list to see the operators and groups',
    })
  }

  return {
    async operators() {
      const [rows = []] = await store.tables(OPERATORS)
      return rows.map(toOperator)
    },
    put: (order, by) =>
      change(by, async (transaction, note) => {
        checkOrder(order)
        for (const group of order.groups) checkGroup(await find(transaction, group))
        const record = { ...order, createdAt: clock.now(), createdBy: by }
        await putRow(transaction, sealing, OPERATORS, toRow(record))
        await note('operator-put', { ...order })
        return record
      }),
    remove: (name, by) =>
      change(by, async (transaction, note) => {
        await find(transaction, name)
        await deleteRow(transaction, sealing, OPERATORS, { name })
        const tokens = await selectRows(transaction, sealing, ADMIN_TOKENS, { operator: name })
        for (const row of tokens) await revoke(transaction, row)
        await note('operator-removed', { name })
      }),
    async tokens() {
      const [rows = []] = await store.tables(ADMIN_TOKENS)
      const uses = await store.database.snapshot((reader) =>
        reader.query('SELECT id, uses, last_at FROM admin_token_uses'),
      )
      const byId = new Map(uses.map((row) => [String(row['id']), row]))
      return rows.map((row) => toTokenRecord(row, byId.get(String(column(row, 'id'))), clock.now()))
    },
    createToken: ({ operator, expiresAt, isPersonal = true }, by) =>
      change(by, async (transaction, note) => {
        const { kind } = await find(transaction, operator)
        if (kind === 'group') {
          throw new OperatorError(
            'OPERATOR_INVALID',
            `${operator} is a group: only operators can have tokens`,
          )
        }
        const id = randomBytes(ID_BYTES).toString('hex')
        const { token, sha256 } = createToken()
        await insertRow(transaction, sealing, ADMIN_TOKENS, {
          ...{ id, operator, sha256, created_at: clock.now() },
          created_by: isPersonal ? by : `${IMPERSONAL}${by}`,
          ...{ expires_at: expiresAt ?? null, revoked_at: null },
        })
        await note('token-created', { id, operator, ...(!isPersonal && { isPersonal }) })
        return { id, token: new Secret(token) }
      }),
    revokeToken: (id, by) =>
      change(by, async (transaction, note) => {
        const [row] = await selectRows(transaction, sealing, ADMIN_TOKENS, { id })
        if (row === undefined) {
          throw new OperatorError('TOKEN_NOT_FOUND', `there is no token ${id}`, {
            hint: 'run latchkey admin tokens list to see the tokens',
          })
        }
        await revoke(transaction, row)
        await note('token-revoked', { id, operator: String(column(row, 'operator')) })
      }),
  }

  async function revoke(transaction: SealedTransaction, row: Row): Promise<void> {
    const revokedAt = column(row, 'revoked_at') ?? clock.now()
    await updateRow(transaction, sealing, ADMIN_TOKENS, { ...row, revoked_at: revokedAt })
  }
}

/** @param row a row of the ADMIN_TOKENS table */
export function isPersonalToken(row: Row): boolean {
  return !String(column(row, 'created_by')).startsWith(IMPERSONAL)
}

/** Returns an operator's roles: its own, and its existing groups' roles. */
export function grantsOf(
  { role, keyStores, groups }: OperatorRecord,
  find: (name: string) => OperatorRecord | undefined,
): readonly Grant[] {
  const own = role === undefined ? [] : [{ role, ...(keyStores && { keyStores }) }]
  const inherited = groups.flatMap((name) => {
    const group = find(name)
    return group?.kind === 'group' ? grantsOf({ ...group, groups: [] }, find) : []
  })
  return [...own, ...inherited]
}

/** @throws OperatorError OPERATOR_INVALID */
function checkOrder({ name, kind, role, groups }: OperatorOrder): void {
  if (!NAME.test(name)) {
    throw new OperatorError(
      'OPERATOR_INVALID',
      'expected a name of 1 to 64 letters, digits, periods, underscores, hyphens and @',
    )
  }
  if (kind === 'group' ? role === undefined : role === undefined && groups.length === 0) {
    const needs =
      kind === 'group' ? 'a group requires a role' : 'an operator requires a role or a group'
    throw new OperatorError('OPERATOR_INVALID', needs)
  }
}

function checkGroup({ name, kind }: OperatorRecord): void {
  if (kind === 'group') return
  throw new OperatorError('OPERATOR_INVALID', `${name} is not a group`)
}

function toRow({ name, kind, role, keyStores, groups, createdAt, createdBy }: OperatorRecord): Row {
  return {
    ...{ name, kind, role: role ?? null },
    key_stores: keyStores === undefined ? null : JSON.stringify(keyStores),
    member_of: JSON.stringify(groups),
    ...{ created_at: createdAt, created_by: createdBy },
  }
}

/** The casts are safe: the row's MAC proves that `put` wrote it. */
export function toOperator(row: Row): OperatorRecord {
  const role = column(row, 'role')
  const keyStores = column(row, 'key_stores')
  return {
    name: String(column(row, 'name')),
    kind: column(row, 'kind') as OperatorRecord['kind'],
    ...(role === null ? {} : { role: role as AdminRole }),
    ...(keyStores === null ? {} : { keyStores: JSON.parse(String(keyStores)) as string[] }),
    groups: JSON.parse(String(column(row, 'member_of'))) as string[],
    createdAt: Number(column(row, 'created_at')),
    createdBy: String(column(row, 'created_by')),
  }
}

function toTokenRecord(row: Row, use: Row | undefined, now: number): TokenRecord {
  const expiresAt = column(row, 'expires_at')
  const revokedAt = column(row, 'revoked_at')
  const isPersonal = isPersonalToken(row)
  const isExpired = expiresAt !== null && now >= Number(expiresAt)
  return {
    id: String(column(row, 'id')),
    operator: String(column(row, 'operator')),
    status: revokedAt !== null ? 'REVOKED' : isExpired ? 'EXPIRED' : 'ACTIVE',
    createdAt: Number(column(row, 'created_at')),
    createdBy: String(column(row, 'created_by')).slice(isPersonal ? 0 : IMPERSONAL.length),
    isPersonal,
    ...(expiresAt === null ? {} : { expiresAt: Number(expiresAt) }),
    ...(revokedAt === null ? {} : { revokedAt: Number(revokedAt) }),
    uses: Number(use?.['uses'] ?? 0),
    ...(use === undefined ? {} : { lastUsedAt: Number(use['last_at']) }),
  }
}
