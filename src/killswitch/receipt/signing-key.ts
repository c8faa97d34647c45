/**
 * The key that signs receipts is derived from the store's key, so it can be neither removed nor
 * replaced.
 */
// SPDX-License-Identifier: Apache-2.0
import { findSealedFact } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import { createSigner, type Signer, type StatementKind } from '../../core/signature.ts'

/** Stores created by earlier releases may hold a random key as a fact. */
const FACT = 'receipt_key'

/** @throws StorageError STORE_TAMPERED, also when the fact was removed */
export async function openSigner(store: Store, kind: StatementKind = 'receipt'): Promise<Signer> {
  const { database, sealing } = store
  const wrapped = await database.snapshot((reader) => findSealedFact(reader, sealing, FACT))
  const seed =
    wrapped === undefined
      ? sealing.derive('receipt key')
      : sealing.unwrap([FACT, store.id], wrapped)
  const signer = createSigner(seed, kind)
  seed.fill(0)
  return signer
}
