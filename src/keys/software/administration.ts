/** Administers software keys for `latchkey keys`. Each call is one durable transaction. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { forEachInSlices, turn } from '../../core/slices.ts'
import { verifySmallTables } from '../../store/audit.ts'
import type { Row } from '../../store/database.ts'
import { createChangeRecorder } from '../../store/event-log.ts'
import { readRange } from '../../store/row-range.ts'
import { KEY_DATES, KEY_VERSIONS, KEYS } from '../../store/sealed-tables.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import {
  changeKeyDates,
  findKeyDates,
  type KeyDatesChange,
  replaceDates,
  toDateFields,
  toDatesByKey,
  toKeyName,
} from '../key-dates.ts'
import {
  describeOrigin,
  type KeyAdministration,
  type KeyPage,
  type KeySummary,
} from '../administration.ts'
import {
  type KeyRow,
  KeyTable,
  parseKey,
  parseVersion,
  toSummary,
  type VersionRow,
} from './key-table.ts'
import { loadUses } from './use-table.ts'

const KEY_BYTES = 32
/** Number of keys summarized in one turn of the event loop. */
const SLICE = 200

type VersionsByKey = Map<string, VersionRow[]>

function addVersions(versionsOf: VersionsByKey, versions: readonly VersionRow[]): void {
  for (const version of versions) {
    const own = versionsOf.get(version.keyId)
    if (own === undefined) versionsOf.set(version.keyId, [version])
    else own.push(version)
  }
}

/** Number of keys whose versions, dates and uses are read together. */
const KEYS_PER_READ = 200

/**
 * Reads only the rows of the page's keys, which are verified one by one. Small tables are verified
 * whole as well.
 */
function loadKeyPage(
  store: Store,
  keyStore: string,
  now: number,
  { after, limit }: KeyPage,
): Promise<readonly KeySummary[]> {
  const { sealing } = store
  return store.snapshot(async (reader) => {
    await verifySmallTables(reader, sealing, [KEYS, KEY_VERSIONS, KEY_DATES])
    const range = { prefix: [keyStore], after, limit }
    const keys = await readRange({ reader, sealing, table: KEYS, parse: parseKey }, range)
    const summaries: KeySummary[] = []
    for (let at = 0; at < keys.length; at += KEYS_PER_READ) {
      const slice = keys.slice(at, at + KEYS_PER_READ)
      const ids = slice.map(({ keyId }) => keyId)
      const own = { prefix: [keyStore], among: { column: 'key_id', values: ids } }
      const versionsOf: VersionsByKey = new Map()
      const versions = { reader, sealing, table: KEY_VERSIONS, parse: parseVersion }
      addVersions(versionsOf, await readRange(versions, own))
      const dateRows = { reader, sealing, table: KEY_DATES, parse: (row: Row) => row }
      const dates = toDatesByKey(await readRange(dateRows, own))
      const uses = await loadUses(reader, sealing, keyStore, ids)
      await turn()
      for (const key of slice) {
        const own = versionsOf.get(key.keyId) ?? []
        summaries.push({
          ...toSummary(key, own, uses),
          ...toDateFields(dates.get(toKeyName(key)) ?? {}, now),
        })
      }
    }
    return summaries
  })
}

/** Describes a change for its event: the kind and the details, except the key's name. */
interface KeyChange {
  /** Absent if only the dates change, because a change of dates records its own event. */
  readonly kind?: string
  readonly dates?: KeyDatesChange
  readonly [field: string]: unknown
}

/**
 * @param keyStore name under which the keys are stored
 * @param operator operator recorded with each change; if absent, changes produce no events
 */
export function createKeyAdministration(
  store: Store,
  keyStore: string,
  clock: Clock,
  operator?: string,
): KeyAdministration {
  const record = createChangeRecorder(store.sealing, clock, operator)
  /** @param work returns what to record about the change */
  const change = (
    keyId: string,
    work: (table: KeyTable, transaction: SealedTransaction) => Promise<KeyChange>,
    options?: { readonly erases: boolean },
  ) =>
    store.change(async (transaction) => {
      const table = new KeyTable(transaction, store.sealing)
      const { kind, dates, ...detail } = await work(table, transaction)
      const name = { keyStore, keyId }
      if (kind !== undefined) await record(transaction, kind, { ...name, ...detail })
      const { sealing } = store
      if (dates !== undefined) await changeKeyDates(transaction, { sealing, record }, name, dates)
      const uses = await loadUses(transaction, store.sealing, keyStore, [keyId])
      const key = await table.key(keyStore, keyId)
      return {
        ...toSummary(key, await table.versions(keyStore, keyId), uses),
        ...toDateFields(await findKeyDates(transaction, sealing, name), clock.now()),
      }
    }, options)

  async function addVersion(table: KeyTable, key: KeyRow, material?: Buffer): Promise<void> {
    const bytes = material ?? randomBytes(KEY_BYTES)
    const at = { keyStore, keyId: key.keyId, version: key.currentVersion, createdAt: clock.now() }
    await table.insertVersion(at, bytes)
    if (material === undefined) bytes.fill(0)
  }

  async function destroy(table: KeyTable, keyId: string, version: number): Promise<KeyChange> {
    const key = await table.key(keyStore, keyId)
    const found = (await table.versions(keyStore, keyId)).find((v) => v.version === version)
    if (found?.material == null) {
      throw new BackendError('VERSION_NOT_FOUND', `${keyId} has no version ${String(version)}`)
    }
    if (key.currentVersion === version) {
      throw new BackendError('KEY_USAGE', 'the current version cannot be destroyed', {
        hint: 'rotate the key first',
      })
    }
    await table.updateVersion({ ...found, material: null, destroyedAt: clock.now() })
    return { kind: 'key-version-destroyed', version }
  }

  return {
    createKey: ({ keyId, canEncrypt, canDecrypt, material, ceremony, dates }) =>
      change(keyId, async (table) => {
        if ((await table.findKey(keyStore, keyId)) !== undefined) {
          throw new BackendError('KEY_EXISTS', `the key ${keyId} already exists`)
        }
        const origin = describeOrigin(material, ceremony)
        const key: KeyRow = {
          keyStore,
          keyId,
          status: 'ENABLED',
          canEncrypt,
          canDecrypt,
          currentVersion: 1,
          createdAt: clock.now(),
        }
        await table.insertKey(key)
        await addVersion(table, key, material?.reveal())
        const detail = { canEncrypt, canDecrypt, ...origin }
        return { kind: 'key-created', ...detail, dates: replaceDates(dates) }
      }),
    async listKeys(page) {
      if (page !== undefined) return loadKeyPage(store, keyStore, clock.now(), page)
      const isOwn = (row: Row) => row['key_store'] === keyStore
      const keys: KeyRow[] = []
      const versionsOf: VersionsByKey = new Map()
      const dateRows: Row[] = []
      await store.scan(
        { table: KEYS, take: (rows) => keys.push(...rows.filter(isOwn).map(parseKey)) },
        {
          table: KEY_VERSIONS,
          take(rows) {
            addVersions(versionsOf, rows.filter(isOwn).map(parseVersion))
          },
        },
        { table: KEY_DATES, take: (rows) => dateRows.push(...rows.filter(isOwn)) },
      )
      const dates = toDatesByKey(dateRows)
      const uses = await store.database.snapshot((reader) =>
        loadUses(reader, store.sealing, keyStore),
      )
      const now = clock.now()
      const summaries: KeySummary[] = []
      await forEachInSlices(keys, SLICE, (key) => {
        summaries.push({
          ...toSummary(key, versionsOf.get(key.keyId) ?? [], uses),
          ...toDateFields(dates.get(toKeyName(key)) ?? {}, now),
        })
      })
      return summaries
    },
    rotateKey: (keyId) =>
      change(keyId, async (table) => {
        const key = await table.key(keyStore, keyId)
        const rotated = { ...key, currentVersion: key.currentVersion + 1 }
        await table.updateKey(rotated)
        await addVersion(table, rotated)
        return { kind: 'key-rotated', version: rotated.currentVersion }
      }),
    setKeyStatus: (keyId, status) =>
      change(keyId, async (table) => {
        await table.updateKey({ ...(await table.key(keyStore, keyId)), status })
        return { kind: status === 'ENABLED' ? 'key-enabled' : 'key-disabled' }
      }),
    setKeyDates: (keyId, dates) =>
      change(keyId, async (table) => {
        await table.key(keyStore, keyId)
        return { dates }
      }),
    destroyVersion: (keyId, version, guard) =>
      change(
        keyId,
        async (table, transaction) => {
          await guard?.check(transaction)
          return destroy(table, keyId, version)
        },
        { erases: true },
      ),
  }
}
