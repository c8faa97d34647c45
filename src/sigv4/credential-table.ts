/** Stores credentials with wrapped secrets in authenticated rows. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { LatchkeyError } from '../core/errors.ts'
import { parseAccessKeyId, type AccessKeyId, type KeyStoreName } from '../core/ids.ts'
import { Secret } from '../core/secret.ts'
import { forEachInSlices } from '../core/slices.ts'
import { verifySmallTables } from '../store/audit.ts'
import { secretContext } from '../store/bindings.ts'
import { createChangeRecorder } from '../store/event-log.ts'
import { StorageError, type Row } from '../store/database.ts'
import { readRange } from '../store/row-range.ts'
import { column, selectRows } from '../store/sealed-rows.ts'
import { CREDENTIALS } from '../store/sealed-tables.ts'
import { insertRow, type SealedTransaction, updateRow } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import { type Credential, createCredentialSnapshot, type FollowCredentials } from './credential.ts'

export type CredentialErrorCode =
  | 'CREDENTIAL_INVALID' // the id or secret has a length or characters that the specification does not allow
  | 'CREDENTIAL_EXISTS' // the access key id is already in use
  | 'CREDENTIAL_NOT_FOUND' // there is no such access key id
  | 'CREDENTIAL_REVOKED' // the credential was revoked, which is permanent

export class CredentialError extends LatchkeyError<CredentialErrorCode> {
  override readonly name = 'CredentialError'
}

export interface CredentialSummary {
  readonly accessKeyId: AccessKeyId
  readonly keyStore: KeyStoreName
  readonly status: 'ACTIVE' | 'EXPIRED' | 'REVOKED'
  /** Milliseconds since the Unix epoch, like the two fields below. */
  readonly createdAt: number
  readonly expiresAt?: number
  readonly revokedAt?: number
}

export interface NewCredential {
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt?: number
  /** An existing pair to import (default: a new random one). */
  readonly pair?: { readonly accessKeyId: string; readonly secretAccessKey: Secret }
}

export interface CredentialPage {
  /** The last id of the page before, which need not exist anymore; undefined for the first page. */
  readonly after: AccessKeyId | undefined
  /** Maximum number of credentials. */
  readonly limit: number
  /** Only credentials of these key stores are returned; undefined means all key stores. */
  readonly keyStores: readonly string[] | undefined
}

export interface CredentialTable {
  /** @throws CredentialError CREDENTIAL_INVALID, CREDENTIAL_EXISTS */
  create(keyStore: KeyStoreName, options?: NewCredential): Promise<Credential>
  list(keyStore?: KeyStoreName): Promise<readonly CredentialSummary[]>
  /** Returns part of the list, in ascending order of access key ids. */
  page(page: CredentialPage): Promise<readonly CredentialSummary[]>
  find(accessKeyId: string): Promise<CredentialSummary | undefined>
  /** @throws CredentialError CREDENTIAL_NOT_FOUND, CREDENTIAL_REVOKED */
  expire(accessKeyId: string, at: number): Promise<CredentialSummary>
  /** Revokes permanently and erases the secret. @throws CredentialError CREDENTIAL_NOT_FOUND */
  revoke(accessKeyId: string): Promise<CredentialSummary>
  /**
   * Returns all credentials that are not revoked, with their secrets. The verifier checks the
   * expiry.
   */
  loadActive(): Promise<readonly Credential[]>
}

/** An id has 26 characters of Base32, which hold 130 bits, so ids do not collide. */
const ID_LENGTH = 26
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
/** XKS 1.0.3, Appendix A requires at least 256 bits; 32 bytes are 44 characters of Base64. */
const SECRET_BYTES = 32
const SECRET_FORM = /^[A-Za-z0-9/+=]{43,64}$/

/**
 * @param operator operator name to record with each change; if absent, changes are not recorded as
 * events
 */
export function createCredentialTable(
  store: Store,
  clock: Clock,
  operator?: string,
): CredentialTable {
  const { sealing } = store
  const record = createChangeRecorder(sealing, clock, operator)
  const active = createCredentialSnapshot(followCredentials(store))
  const changeOne = (
    accessKeyId: string,
    kind: 'credential-expiry-set' | 'credential-revoked',
    edit: (row: Row) => Row,
    options?: { readonly erases: boolean },
  ) =>
    store.change(async (transaction) => {
      const row = await findRow(transaction, accessKeyId)
      const edited = edit(row)
      await updateRow(transaction, sealing, CREDENTIALS, edited)
      await recordRow(transaction, kind, edited)
      return toSummary(edited, clock)
    }, options)

  function recordRow(transaction: SealedTransaction, kind: string, row: Row): Promise<void> {
    const { accessKeyId, keyStore, expiresAt } = toIdentity(row)
    const expiry = expiresAt === null ? {} : { expiresAt: new Date(expiresAt).toISOString() }
    return record(transaction, kind, { accessKeyId, keyStore, ...expiry })
  }

  async function findRow(transaction: SealedTransaction, accessKeyId: string): Promise<Row> {
    // PostgreSQL refuses some texts that are not ids, such as those with a zero byte.
    const id = parseAccessKeyId(accessKeyId)
    const where = { access_key_id: accessKeyId }
    const [row] = id === undefined ? [] : await selectRows(transaction, sealing, CREDENTIALS, where)
    if (row === undefined) {
      throw new CredentialError(
        'CREDENTIAL_NOT_FOUND',
        `there is no credential with the id ${accessKeyId}`,
      )
    }
    return row
  }

  return {
    async create(keyStore, options = {}) {
      const credential = makeCredential(keyStore, options)
      const secret = Buffer.from(credential.secretAccessKey.reveal(), 'utf8')
      const row: Row = {
        access_key_id: credential.accessKeyId,
        key_store: keyStore,
        secret: sealing.wrap(secretContext(credential.accessKeyId, keyStore), secret),
        created_at: clock.now(),
        expires_at: credential.expiresAt ?? null,
        revoked_at: null,
      }
      secret.fill(0)
      await store.change(async (transaction) => {
        await insertNew(transaction, row)
        await recordRow(transaction, 'credential-created', row)
      })
      return credential
    },
    async list(keyStore) {
      const [credentials = []] = await store.tables(CREDENTIALS)
      return credentials
        .map((row) => toSummary(row, clock))
        .filter((summary) => keyStore === undefined || summary.keyStore === keyStore)
    },
    async page({ keyStores, ...page }) {
      if (keyStores?.length === 0) return []
      const among = keyStores && { column: 'key_store', values: keyStores }
      const range = { ...page, ...(among && { among }) }
      const parse = (row: Row) => toSummary(row, clock)
      return store.snapshot(async (reader) => {
        await verifySmallTables(reader, sealing, [CREDENTIALS])
        return readRange({ reader, sealing, table: CREDENTIALS, parse }, range)
      })
    },
    async find(accessKeyId) {
      if (parseAccessKeyId(accessKeyId) === undefined) return undefined
      // Only this row is verified, so that damage to another one does not prevent a revocation.
      const [row] = await store.snapshot((reader) =>
        selectRows(reader, sealing, CREDENTIALS, { access_key_id: accessKeyId }),
      )
      return row && toSummary(row, clock)
    },
    expire: (accessKeyId, at) =>
      changeOne(accessKeyId, 'credential-expiry-set', (row) => {
        if (column(row, 'revoked_at') !== null) {
          throw new CredentialError('CREDENTIAL_REVOKED', `${accessKeyId} is revoked`)
        }
        return { ...row, expires_at: at }
      }),
    revoke: (accessKeyId) =>
      changeOne(
        accessKeyId,
        'credential-revoked',
        (row) => ({
          ...row,
          secret: null,
          revoked_at: column(row, 'revoked_at') ?? clock.now(),
        }),
        { erases: true },
      ),
    async loadActive() {
      await active.reload()
      return active.all()
    },
  }

  async function insertNew(transaction: SealedTransaction, row: Row): Promise<void> {
    try {
      await insertRow(transaction, sealing, CREDENTIALS, row)
    } catch (error) {
      if (!(error instanceof StorageError && error.code === 'CONFLICT')) throw error
      throw new CredentialError('CREDENTIAL_EXISTS', 'this access key id is already in use')
    }
  }
}

/** Number of rows handled in one turn of the event loop. */
const SLICE = 100

/**
 * Returns a function that reports changes to the credentials that are not revoked. It unwraps only
 * the secrets of credentials that changed since the last call.
 */
export function followCredentials(store: Store): FollowCredentials {
  const feed = store.feed(CREDENTIALS)
  return (apply) =>
    feed.update(async ([change]) => {
      if (change === undefined) return
      const isActive = (row: Row) =>
        typeof column(row, 'secret') === 'string' && column(row, 'revoked_at') === null
      const removed = change.removed.map(([id]) => String(id))
      await forEachInSlices(change.put, SLICE, (row) => {
        if (!isActive(row)) removed.push(String(column(row, 'access_key_id')))
      })
      // A revocation must not wait until the other changes are unwrapped.
      if (removed.length > 0) await apply({ isReset: false, put: [], removed })
      const put: Credential[] = []
      await forEachInSlices(change.put, SLICE, (row) => {
        const credential = toCredential(row, store)
        if (credential !== undefined) put.push(credential)
      })
      await apply({ isReset: change.isReset, put, removed: [] })
    })
}

function makeCredential(keyStore: KeyStoreName, options: NewCredential): Credential {
  const pair = options.pair ?? {
    accessKeyId: randomId(),
    secretAccessKey: new Secret(randomBytes(SECRET_BYTES).toString('base64')),
  }
  const accessKeyId = parseAccessKeyId(pair.accessKeyId)
  if (accessKeyId === undefined) {
    throw new CredentialError(
      'CREDENTIAL_INVALID',
      'expected an access key id of 20 to 30 characters from A-Z and 2-7',
    )
  }
  if (!SECRET_FORM.test(pair.secretAccessKey.reveal())) {
    throw new CredentialError(
      'CREDENTIAL_INVALID',
      'expected a secret access key of 43 to 64 characters from A-Z, a-z, 0-9, /, + and =',
    )
  }
  const { expiresAt } = options
  return {
    accessKeyId,
    keyStore,
    secretAccessKey: pair.secretAccessKey,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

/** Each byte yields five bits, so every character is equally likely. */
function randomId(): string {
  return Array.from(randomBytes(ID_LENGTH), (byte) => BASE32.charAt(byte & 31)).join('')
}

function toCredential(row: Row, store: Store): Credential | undefined {
  const wrapped = column(row, 'secret')
  if (typeof wrapped !== 'string' || column(row, 'revoked_at') !== null) return undefined
  const { accessKeyId, keyStore, expiresAt } = toIdentity(row)
  const secret = store.sealing.unwrap(secretContext(accessKeyId, keyStore), wrapped)
  const secretAccessKey = new Secret(secret.toString('utf8'))
  secret.fill(0)
  const createdAt = Number(column(row, 'created_at'))
  const expiry = expiresAt === null ? {} : { expiresAt }
  return { accessKeyId, keyStore, secretAccessKey, createdAt, ...expiry }
}

/**
 * The brands are safe: the row's MAC proves that `create` wrote the row, after parsing its values.
 */
function toIdentity(row: Row) {
  return {
    accessKeyId: column(row, 'access_key_id') as AccessKeyId,
    keyStore: column(row, 'key_store') as KeyStoreName,
    expiresAt: column(row, 'expires_at') as number | null,
  }
}

function toSummary(row: Row, clock: Clock): CredentialSummary {
  const { accessKeyId, keyStore, expiresAt } = toIdentity(row)
  const revokedAt = column(row, 'revoked_at') as number | null
  const expired = expiresAt !== null && clock.now() >= expiresAt
  return {
    accessKeyId,
    keyStore,
    status: revokedAt !== null ? 'REVOKED' : expired ? 'EXPIRED' : 'ACTIVE',
    createdAt: Number(column(row, 'created_at')),
    ...(expiresAt === null ? {} : { expiresAt }),
    ...(revokedAt === null ? {} : { revokedAt }),
  }
}
