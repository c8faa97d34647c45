/**
 * The key that signs receipts is derived from the store's key, so it can be neither removed nor
 * replaced.
 */
// SPDX-License-Identifier: Apache-2.0
import { factContext, RECEIPT_KEY } from '../../store/bindings.ts'
import { findSealedFact } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import { createSigner, type Signer, type StatementKind } from '../../core/signature.ts'

/** @throws StorageError STORE_TAMPERED, including when the stored receipt key was removed */
export async function openSigner(store: Store, kind: StatementKind = 'receipt'): Promise<Signer> {
  const { database, sealing } = store
  const wrapped = await database.snapshot((reader) => findSealedFact(reader, sealing, RECEIPT_KEY))
  const seed =
    wrapped === undefined
      ? sealing.derive('receipt key')
      : sealing.unwrap(factContext(RECEIPT_KEY, store.id), wrapped)
  const signer = createSigner(seed, kind)
  seed.fill(0)
  return signer
}
