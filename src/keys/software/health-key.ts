/** The test key for deep health checks, which no caller can reach. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import { materialContext } from '../../store/bindings.ts'
import { StorageError } from '../../store/database.ts'
import { selectRows } from '../../store/sealed-rows.ts'
import { KEY_VERSIONS } from '../../store/sealed-tables.ts'
import { readState } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import type { ManagerStatus } from '../key-backend.ts'
import { createKeyAdministration } from './administration.ts'
import { importKey } from './gcm.ts'
import { parseContents, type VersionRow } from './key-table.ts'

/** No key store can have this name, so no URI path leads to the key. */
const HEALTH_STORE = '.health'
const HEALTH_KEY = 'health' as ExternalKeyId

/** Creates the key once, when the store is new. */
export async function ensureHealthKey(store: Store, clock: Clock): Promise<void> {
  if ((await findTestKey(store)) !== undefined) return
  const administration = createKeyAdministration(store, HEALTH_STORE, clock)
  try {
    await administration.createKey({ keyId: HEALTH_KEY, canEncrypt: true, canDecrypt: true })
  } catch (error) {
    // Another process may have created it first.
    if (!(error instanceof BackendError && error.code === 'KEY_EXISTS')) throw error
  }
}

async function findTestKey(store: Store): Promise<VersionRow | undefined> {
  const where = { key_store: HEALTH_STORE, key_id: HEALTH_KEY }
  const versions = await store.database.snapshot(async (reader) => {
    // Checking that the epoch and the state match detects most changes that were not made by
    // Latchkey.
    await readState(reader, store.sealing)
    return selectRows(reader, store.sealing, KEY_VERSIONS, where)
  })
  return parseContents({ keys: [], versions }).versions[0]
}

/**
 * Tests the whole path from disk to plaintext: reads and verifies the row, unwraps the key,
 * encrypts and decrypts.
 */
async function testFromStore(store: Store): Promise<void> {
  const row = await findTestKey(store)
  if (row?.material == null) throw new Error('the test key is missing')
  await importKey(store.sealing.unwrap(materialContext(row), row.material))
}

/**
 * Returns ACTIVE if the store responds and its test key works. Returns DEGRADED if the store does
 * not respond; keys in memory remain in use. Returns UNAVAILABLE if an audit or this check of the
 * test key found that the store was tampered with.
 */
async function checkHealth(store: Store): Promise<ManagerStatus> {
  if (store.fault !== undefined) return 'UNAVAILABLE'
  try {
    await testFromStore(store)
    return 'ACTIVE'
  } catch (error) {
    const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
    return isTampered ? 'UNAVAILABLE' : 'DEGRADED'
  }
}

/** Time in milliseconds within which checks for several key stores share one run. */
const SHARED_MS = 100

/** Returns a health check. Key stores that call it at about the same time share one run. */
export function createHealthCheck(store: Store, clock: Clock): () => Promise<ManagerStatus> {
  let running: Promise<ManagerStatus> | undefined
  let startedAt = -Infinity
  return () => {
    const now = clock.monotonic()
    if (running !== undefined && now - startedAt < SHARED_MS) return running
    startedAt = now
    const own = checkHealth(store).finally(() => {
      if (running === own) running = undefined
    })
    running = own
    return own
  }
}
