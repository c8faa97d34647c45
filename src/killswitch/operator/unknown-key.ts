/** A kill switch for a key that there is not: written all the same, since it may be made yet; but said. */
// SPDX-License-Identifier: Apache-2.0
import { SUCCESS } from '../../usage/usage-key.ts'
import type { Scope } from '../model.ts'
import type { Reader } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'

/** Nobody who stops something waits longer for a remark. */
const PATIENCE_MS = 1000

/** See `Control.doubt`. */
export async function findDoubt(store: Store, scope: Scope): Promise<string | undefined> {
  if (scope.kind !== 'key') return undefined
  const { keyStore, keyId } = scope
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<true>((resolve) => {
    // Cleared as soon as the store answers.
    timer = setTimeout(resolve, PATIENCE_MS, true)
  })
  const look = store.database
    .snapshot((reader) => isKnown(reader, keyStore, keyId))
    .catch(() => true)
  const known = await Promise.race([look, patience])
  clearTimeout(timer)
  if (known) return undefined
  return `no key ${keyId} is known in the key store ${keyStore}: neither was it made here, nor did anybody use it lately; the switch is in force all the same. Is it misspelt?`
}

/** Made as a software key; or served lately, which is what tells of keys in HSMs. */
async function isKnown(reader: Reader, keyStore: string, keyId: string): Promise<boolean> {
  const made = await reader.query(
    'SELECT key_id FROM external_keys WHERE key_store = ? AND key_id = ?',
    [keyStore, keyId],
  )
  if (made.length > 0) return true
  const used = await reader.query(
    'SELECT key_id FROM activity_subjects WHERE key_store = ? AND key_id = ? AND outcome = ? LIMIT 1',
    [keyStore, keyId, SUCCESS],
  )
  return used.length > 0
}
