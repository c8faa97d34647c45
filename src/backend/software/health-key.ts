/** The test key: deep health checks use it, and no caller can reach it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../base/clock.ts'
import type { ExternalKeyId } from '../../base/ids.ts'
import type { Store } from '../../storage/store.ts'
import type { ManagerStatus } from '../key-backend.ts'
import { createKeyAdministration } from './administration.ts'
import { importKey, selfTest } from './gcm.ts'
import { materialContext, parseContents } from './key-table.ts'

/** No key store can have this name, so no path leads to it. */
const HEALTH_STORE = '.health'
const HEALTH_KEY = 'health' as ExternalKeyId

/** Once, when the store is new. */
export async function ensureHealthKey(store: Store, clock: Clock): Promise<void> {
  const administration = createKeyAdministration(store, HEALTH_STORE, clock)
  if ((await administration.listKeys()).length > 0) return
  await administration.createKey({ keyId: HEALTH_KEY, canEncrypt: true, canDecrypt: true })
}

/** From the disk to the plaintext: reads and verifies the row, unwraps, encrypts and decrypts. */
async function testFromStore(store: Store): Promise<void> {
  const { versions } = parseContents(await store.contents())
  const row = versions.find((v) => v.keyStore === HEALTH_STORE && v.keyId === HEALTH_KEY)
  if (row?.material == null) throw new Error('the test key is gone')
  await selfTest(await importKey(store.sealing.unwrap(materialContext(row), row.material)))
}

/**
 * ACTIVE: the store answers and its test key works. DEGRADED: keys in memory go on serving, though
 * the store does not answer.
 */
export async function checkHealth(store: Store): Promise<ManagerStatus> {
  try {
    await testFromStore(store)
    return 'ACTIVE'
  } catch {
    return 'DEGRADED'
  }
}
