/** The test key: deep health checks use it, and no caller can reach it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import { StorageError } from '../../store/database.ts'
import { KEY_VERSIONS, selectRows } from '../../store/sealed-rows.ts'
import { readState } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import type { ManagerStatus } from '../key-backend.ts'
import { createKeyAdministration } from './administration.ts'
import { importKey } from './gcm.ts'
import { materialContext, parseContents, type VersionRow } from './key-table.ts'

/** No key store can have this name, so no path leads to it. */
const HEALTH_STORE = '.health'
const HEALTH_KEY = 'health' as ExternalKeyId

/** Once, when the store is new. */
export async function ensureHealthKey(store: Store, clock: Clock): Promise<void> {
  if ((await findTestKey(store)) !== undefined) return
  const administration = createKeyAdministration(store, HEALTH_STORE, clock)
  try {
    await administration.createKey({ keyId: HEALTH_KEY, canEncrypt: true, canDecrypt: true })
  } catch (error) {
    // Another process may have been quicker.
    if (!(error instanceof BackendError && error.code === 'KEY_EXISTS')) throw error
  }
}

async function findTestKey(store: Store): Promise<VersionRow | undefined> {
  const where = { key_store: HEALTH_STORE, key_id: HEALTH_KEY }
  const versions = await store.database.snapshot(async (reader) => {
    // That the epoch and the state belong together tells of most of what others can do.
    await readState(reader, store.sealing)
    return selectRows(reader, store.sealing, KEY_VERSIONS, where)
  })
  return parseContents({ keys: [], versions }).versions[0]
}

/** From the disk to the plaintext: reads and verifies the row, unwraps, encrypts and decrypts. */
async function testFromStore(store: Store): Promise<void> {
  const row = await findTestKey(store)
  if (row?.material == null) throw new Error('the test key is gone')
  await importKey(store.sealing.unwrap(materialContext(row), row.material))
}

/**
 * ACTIVE: the store answers and its test key works. DEGRADED: keys in memory go on serving, though
 * the store does not answer. UNAVAILABLE: the store was changed by others, as far as an
 * audit or this look at the test key has found.
 */
export async function checkHealth(store: Store): Promise<ManagerStatus> {
  if (store.fault !== undefined) return 'UNAVAILABLE'
  try {
    await testFromStore(store)
    return 'ACTIVE'
  } catch (error) {
    const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
    return isTampered ? 'UNAVAILABLE' : 'DEGRADED'
  }
}
