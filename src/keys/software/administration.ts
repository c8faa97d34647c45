/** Administration of software keys by `latchkey keys`. Each call is one durable transaction. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { createChangeRecorder } from '../../store/event-log.ts'
import { KEY_VERSIONS, KEYS } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import type { KeyAdministration } from '../administration.ts'
import { KeyTable, parseContents, toSummary, type KeyRow, type VersionRow } from './key-table.ts'
import { loadUses } from './use-reservations.ts'

const KEY_BYTES = 32

/** Kind of the event, and its details besides the name of the key. */
interface KeyChange {
  readonly kind: string
  readonly [field: string]: string | number | boolean
}

/**
 * @param keyStore name under which the keys are stored
 * @param operator operator recorded with each change; without one, changes leave no event
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
    work: (table: KeyTable) => Promise<KeyChange>,
    options?: { readonly erases: boolean },
  ) =>
    store.change(async (transaction) => {
      const table = new KeyTable(transaction, store.sealing)
      const { kind, ...detail } = await work(table)
      await record(transaction, kind, { keyStore, keyId, ...detail })
      const uses = await loadUses(transaction, store.sealing, keyStore, keyId)
      const key = await table.key(keyStore, keyId)
      return toSummary(key, await table.versions(keyStore, keyId), uses)
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
    createKey: ({ keyId, canEncrypt, canDecrypt, material }) =>
      change(keyId, async (table) => {
        if ((await table.findKey(keyStore, keyId)) !== undefined) {
          throw new BackendError('KEY_EXISTS', `the key ${keyId} already exists`)
        }
        const bytes = material?.reveal()
        if (bytes !== undefined && bytes.length !== KEY_BYTES) {
          throw new BackendError('KEY_USAGE', 'an AES-256 key has exactly 32 bytes')
        }
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
        await addVersion(table, key, bytes)
        return { kind: 'key-created', canEncrypt, canDecrypt, isImported: bytes !== undefined }
      }),
    async listKeys() {
      const [keyRows = [], versionRows = []] = await store.tables(KEYS, KEY_VERSIONS)
      const { keys, versions } = parseContents({ keys: keyRows, versions: versionRows })
      const uses = await store.database.snapshot((reader) =>
        loadUses(reader, store.sealing, keyStore),
      )
      const versionsOf = new Map<string, VersionRow[]>()
      for (const version of versions.filter((one) => one.keyStore === keyStore)) {
        const own = versionsOf.get(version.keyId)
        if (own === undefined) versionsOf.set(version.keyId, [version])
        else own.push(version)
      }
      return keys
        .filter((key) => key.keyStore === keyStore)
        .map((key) => toSummary(key, versionsOf.get(key.keyId) ?? [], uses))
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
    destroyVersion: (keyId, version) =>
      change(keyId, (table) => destroy(table, keyId, version), { erases: true }),
  }
}
