/** The key that signs receipts: made once for a store, sealed in it, shared by its fleet. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { findFact, writeFact } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import { createSigner, type Signer } from './signature.ts'

const FACT = 'receipt_key'
const SEED_BYTES = 32

/** Makes the key where there is none yet. @throws StorageError */
export async function openSigner(store: Store): Promise<Signer> {
  const wrapped = await store.database.transaction(async (transaction) => {
    const there = await findFact(transaction, FACT)
    if (there !== undefined) return there
    const seed = randomBytes(SEED_BYTES)
    const fresh = store.sealing.wrap([FACT, store.id], seed)
    seed.fill(0)
    await writeFact(transaction, FACT, fresh)
    return fresh
  })
  const seed = store.sealing.unwrap([FACT, store.id], wrapped)
  const signer = createSigner(seed)
  seed.fill(0)
  return signer
}
