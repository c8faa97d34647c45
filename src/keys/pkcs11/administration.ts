/** The operations of `latchkey keys` on a token. The token holds the keys; the control store holds their status. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { parseExternalKeyId, type ExternalKeyId, type KeyStoreName } from '../../core/ids.ts'
import { verifySmallTables } from '../../store/audit.ts'
import type { Row } from '../../store/database.ts'
import { createChangeRecorder } from '../../store/event-log.ts'
import { readRange } from '../../store/row-range.ts'
import { KEY_DATES, KEYS, type SealedTable, TOKEN_KEYS } from '../../store/sealed-tables.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import { describeOrigin, type KeyAdministration, type KeySummary } from '../administration.ts'
import {
  changeKeyDates,
  type KeyDatesChange,
  replaceDates,
  toDateFields,
  toDatesByKey,
  toKeyName,
} from '../key-dates.ts'
import { KeyTable, parseContents } from '../software/key-table.ts'
import { loadUses, toId } from '../software/use-table.ts'
import { parseTokenKey, TokenKeyTable, trustVersions, type TokenKeyRow } from './token-key-table.ts'
import { type Recorded, toSummary } from './key-summary.ts'
import type { Call, ListedKey, TokenKey } from './wire/calls.ts'
import type { TokenFleet } from './pool/fleet.ts'

export interface TokenAdministrationDeps {
  readonly fleet: TokenFleet
  readonly store: Store
  readonly clock: Clock
  readonly keyStore: KeyStoreName
  readonly keyPrefix: string
  /** Operator recorded with each change; if absent, changes produce no events. */
  readonly operator?: string | undefined
  /** Whether servers count encryptions. */
  readonly countsUses: boolean
}

export type TokenAdministration = KeyAdministration &
  Required<Pick<KeyAdministration, 'trustKey' | 'checkDestroyable'>>

/** Timeout in milliseconds; some HSMs take seconds to create a key. */
const DEADLINE_MS = 30_000

export function createTokenAdministration(deps: TokenAdministrationDeps): TokenAdministration {
  const { fleet, store, clock, keyStore, keyPrefix } = deps
  const record = createChangeRecorder(store.sealing, clock, deps.operator)
  const nameOf = (keyId: ExternalKeyId) => `${keyPrefix}${keyId}`
  const call = (one: Call) => fleet.call(one, new Deadline(clock, DEADLINE_MS))
  const versionsOf = async (keyId: ExternalKeyId) =>
    (await call({
      call: 'describe',
      name: nameOf(keyId),
      search: 'all',
    })) as readonly TokenKey[]

  /** @param keyIds keys whose records are read (default: all keys) */
  async function recorded(keyIds?: readonly ExternalKeyId[]): Promise<Recorded> {
    const tables = [KEYS, TOKEN_KEYS, KEY_DATES]
    const [keyRows = [], tokenKeyRows = [], dateRows = []] =
      keyIds === undefined ? await store.tables(...tables) : await rowsOf(tables, keyIds)
    const dates = toDatesByKey(dateRows)
    const { keys } = parseContents({ keys: keyRows, versions: [] })
    const versions = new Map<string, TokenKeyRow[]>()
    for (const row of tokenKeyRows.map(parseTokenKey)) {
      if (row.keyStore !== keyStore) continue
      versions.set(row.keyId, [...(versions.get(row.keyId) ?? []), row])
    }
    const own = keys.filter((key) => key.keyStore === keyStore)
    const uses = deps.countsUses
      ? await store.database.snapshot((reader) => loadUses(reader, store.sealing, keyStore, keyIds))
      : undefined
    const encryptions = (keyId: ExternalKeyId, version: number) =>
      uses && (uses.get(toId({ keyStore, keyId, version })) ?? 0)
    return {
      statuses: new Map(own.map(({ keyId, status }) => [keyId, status])),
      versions,
      encryptions,
      dateFields: (keyId) =>
        toDateFields(dates.get(toKeyName({ keyStore, keyId })) ?? {}, clock.now()),
    }
  }

  /** Returns the rows of these keys, which are verified one by one; small tables are verified whole. */
  function rowsOf(
    tables: readonly SealedTable[],
    keyIds: readonly ExternalKeyId[],
  ): Promise<readonly (readonly Row[])[]> {
    return store.snapshot(async (reader) => {
      await verifySmallTables(reader, store.sealing, tables)
      const among = { column: 'key_id', values: keyIds }
      const found: (readonly Row[])[] = []
      for (const table of keyIds.length === 0 ? [] : tables) {
        const rows = { reader, sealing: store.sealing, table, parse: (row: Row) => row }
        found.push(await readRange(rows, { prefix: [keyStore], among }))
      }
      return found
    })
  }

  async function summarise(keyId: ExternalKeyId): Promise<KeySummary> {
    return toSummary(keyId, await versionsOf(keyId), await recorded())
  }

  /**
   * Records a version that Latchkey created. Running servers notice the record and look the key up.
   */
  async function recordVersion(
    transaction: SealedTransaction,
    keyId: ExternalKeyId,
    { version, check }: TokenKey,
  ): Promise<void> {
    const row = { keyStore, keyId, version, check, seenAt: clock.now() }
    const table = new TokenKeyTable(transaction, store.sealing)
    await table.put({ ...row, reason: null, operator: null })
  }

  /**
   * Refuses to create a key whose name is recorded, because servers accept only the recorded key of
   * that name.
   */
  async function checkUnknown(keyId: ExternalKeyId): Promise<void> {
    const { versions } = await recorded()
    if (!versions.has(keyId)) return
    throw new BackendError(
      'KEY_EXISTS',
      `the store already has a record of the key ${keyId}, which may be missing from the token`,
      {
        hint: 'choose another id: a new key could not decrypt the data that the recorded key encrypted',
      },
    )
  }

  /**
   * Refuses if there are several tokens, because each would create a different key under the same
   * name.
   */
  function checkSingle(verb: 'create' | 'destroy' = 'create'): void {
    if (fleet.single !== undefined) return
    const hint =
      verb === 'create'
        ? "create the key with the vendor's tools, so that every token has the same key"
        : "destroy the version with the vendor's tools on every token, and run the command again"
    const message = `several tokens are configured, so ${verb} keys with the vendor's tools`
    throw new BackendError('MISCONFIGURED', message, { hint })
  }

  const changeDates = (
    transaction: SealedTransaction,
    keyId: ExternalKeyId,
    change: KeyDatesChange,
  ) => changeKeyDates(transaction, { sealing: store.sealing, record }, { keyStore, keyId }, change)

  return {
    async createKey({ keyId, canEncrypt, canDecrypt, material, ceremony, dates }) {
      checkSingle()
      const origin = describeOrigin(material, ceremony)
      await checkUnknown(keyId)
      // Write the dates first, because servers may find the key on the token before it is recorded.
      // A server that has not read the dates yet may serve the key until its next poll.
      const setDates = (transaction: SealedTransaction) =>
        changeDates(transaction, keyId, replaceDates(dates))
      if (dates !== undefined) await store.change(setDates)
      const created = (await call({
        call: 'create',
        name: nameOf(keyId),
        version: 1,
        canEncrypt,
        canDecrypt,
        ...(material === undefined ? {} : { material: material.reveal().toString('base64') }),
      })) as TokenKey
      // The row in KEYS lets a kill recognize that Latchkey created the key.
      await store.change(async (transaction) => {
        await recordVersion(transaction, keyId, created)
        await setDates(transaction)
        const detail = { keyStore, keyId, canEncrypt, canDecrypt, ...origin }
        await record(transaction, 'key-created', detail)
        const table = new KeyTable(transaction, store.sealing)
        if ((await table.findKey(keyStore, keyId)) !== undefined) return
        const status = 'ENABLED'
        await table.insertKey({
          ...{ keyStore, keyId, status, createdAt: clock.now() },
          ...{ canEncrypt, canDecrypt, currentVersion: 1 },
        })
      })
      return summarise(keyId)
    },
    async listKeys(page) {
      const found = new Map<ExternalKeyId, TokenKey[]>()
      const part = page && {
        ...{ prefix: keyPrefix, limit: page.limit },
        ...(page.after !== undefined && { after: page.after }),
      }
      const list = await call({ call: 'list', ...(part && { page: part }) })
      for (const { name, key } of list as readonly ListedKey[]) {
        const keyId = toKeyId(name, keyPrefix)
        if (keyId === undefined || key === undefined) continue
        found.set(keyId, [...(found.get(keyId) ?? []), key])
      }
      const known = await recorded(page && [...found.keys()])
      return [...found]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([keyId, versions]) => toSummary(keyId, versions, known))
    },
    async rotateKey(keyId) {
      checkSingle()
      const current = (await versionsOf(keyId)).at(-1)
      if (current === undefined) throw new BackendError('KEY_NOT_FOUND', `there is no key ${keyId}`)
      const { canEncrypt, canDecrypt } = current
      const version = current.version + 1
      const usage = { canEncrypt, canDecrypt }
      const created = await call({ call: 'create', name: nameOf(keyId), version, ...usage })
      await store.change(async (transaction) => {
        await recordVersion(transaction, keyId, created as TokenKey)
        await record(transaction, 'key-rotated', { keyStore, keyId, version })
      })
      return summarise(keyId)
    },
    async setKeyStatus(keyId, status) {
      const current = (await versionsOf(keyId)).at(-1)
      await store.change(async (transaction) => {
        const table = new KeyTable(transaction, store.sealing)
        const row = await table.findKey(keyStore, keyId)
        const kind = status === 'ENABLED' ? 'key-enabled' : 'key-disabled'
        await record(transaction, kind, { keyStore, keyId })
        if (row !== undefined) await table.updateKey({ ...row, status })
        else {
          await table.insertKey({
            ...{ keyStore, keyId, status, createdAt: clock.now() },
            canEncrypt: current?.canEncrypt === true,
            canDecrypt: current?.canDecrypt === true,
            currentVersion: current?.version ?? 1,
          })
        }
      })
      return summarise(keyId)
    },
    async setKeyDates(keyId, change) {
      if ((await versionsOf(keyId)).length === 0) {
        throw new BackendError('KEY_NOT_FOUND', `there is no key ${keyId}`)
      }
      await store.change((transaction) => changeDates(transaction, keyId, change))
      return summarise(keyId)
    },
    async destroyVersion(keyId, version, guard) {
      checkSingle('destroy')
      const versions = await versionsOf(keyId)
      if (!versions.some((one) => one.version === version)) {
        throw new BackendError('VERSION_NOT_FOUND', `${keyId} has no version ${String(version)}`)
      }
      if (versions.at(-1)?.version === version) {
        throw new BackendError('KEY_USAGE', 'the current version cannot be destroyed', {
          hint: 'rotate the key first',
        })
      }
      if (guard !== undefined) await store.database.snapshot((reader) => guard.check(reader))
      await call({ call: 'destroy', name: nameOf(keyId), version })
      await store.change(async (transaction) => {
        await guard?.settle(transaction)
        await new TokenKeyTable(transaction, store.sealing).delete({ keyStore, keyId }, version)
        await record(transaction, 'key-version-destroyed', { keyStore, keyId, version })
      })
      return summarise(keyId)
    },
    checkDestroyable: () =>
      Promise.resolve().then(() => {
        checkSingle('destroy')
      }),
    async trustKey(keyId, order) {
      const versions = await versionsOf(keyId)
      const at = clock.now()
      const changes = await trustVersions(store, { keyStore, keyId, ...order, at }, versions)
      return { key: toSummary(keyId, versions, await recorded()), changes }
    },
  }
}

/**
 * Converts a name on the token to a key id; undefined if the prefix is missing or the rest is not a
 * key id.
 */
export function toKeyId(name: string, keyPrefix: string): ExternalKeyId | undefined {
  return name.startsWith(keyPrefix) ? parseExternalKeyId(name.slice(keyPrefix.length)) : undefined
}
