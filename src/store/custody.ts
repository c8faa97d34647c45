/**
 * Changes who can open a store: moves it to another master key, or escrows the store key to a
 * recovery key.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  constants,
  createHash,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from 'node:crypto'
import { type Reader, StorageError } from './database.ts'
import { readFact } from './facts.ts'
import { createMasterKey, type MasterKeySource } from './master-key.ts'
import { refuseDuringRekey } from './rekey.ts'
import { FACTS } from './sealed-tables.ts'
import { notWritten } from './sealed-state.ts'
import { updateRow } from './sealed-transaction.ts'
import { openWithKey, type StoreOptions } from './store.ts'

/** The store key, encrypted to a recovery key with RSA-OAEP and SHA-256. */
export interface Escrow {
  readonly format: 'latchkey-escrow'
  readonly version: 1
  readonly storeId: string
  /** SHA-256 of the recovery key's SubjectPublicKeyInfo, in hex. */
  readonly recoveryKey: string
  /** Base64. */
  readonly wrapped: string
}

const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const
const LEAST_RSA_BITS = 3072

/**
 * Wraps the store key under another master key, in one change. Running servers are not affected,
 * but the next start needs the new master key. Earlier backups still open with the old one.
 * @throws StorageError
 */
export async function rewrapStore(options: StoreOptions, next: MasterKeySource): Promise<void> {
  const { store, storeKey, record: before } = await openWithKey(options)
  try {
    const masterKey = createMasterKey(next)
    const value = await masterKey.wrap(storeKey)
    await store.change(async (transaction) => {
      await refuseDuringRekey(transaction)
      await refuseAfterRekey(transaction, before)
      await updateRow(transaction, store.sealing, FACTS, { name: 'master_key', value })
    })
    const record = await store.database.snapshot((reader) => readFact(reader, 'master_key'))
    const again = await masterKey.unwrap(record)
    const isSame = again.equals(storeKey)
    again.fill(0)
    if (!isSame) throw notWritten('facts master_key')
  } finally {
    storeKey.fill(0)
    await store.close()
  }
}

/** @throws StorageError, or TypeError unless the recovery key is RSA with at least 3,072 bits */
export async function escrowStoreKey(options: StoreOptions, recoveryKey: KeyObject) {
  const bits = recoveryKey.asymmetricKeyDetails?.modulusLength ?? 0
  if (recoveryKey.asymmetricKeyType !== 'rsa' || bits < LEAST_RSA_BITS) {
    throw new TypeError(`expected an RSA recovery key of at least ${String(LEAST_RSA_BITS)} bits`)
  }
  const { store, storeKey, record } = await openWithKey(options)
  try {
    await store.database.snapshot(async (reader) => {
      await refuseDuringRekey(reader)
      await refuseAfterRekey(reader, record)
    })
    const wrapped = publicEncrypt({ key: recoveryKey, ...OAEP }, storeKey).toString('base64')
    return {
      ...{ format: 'latchkey-escrow', version: 1, storeId: store.id },
      ...{ recoveryKey: fingerprint(recoveryKey), wrapped },
    } satisfies Escrow
  } finally {
    storeKey.fill(0)
    await store.close()
  }
}

/**
 * If another process has replaced the store key, this process's key no longer opens anything.
 * Wrapping that key under a new master key would lose the store.
 * @throws StorageError STORE_BUSY
 */
async function refuseAfterRekey(reader: Reader, record: string): Promise<void> {
  if ((await readFact(reader, 'master_key')) === record) return
  throw new StorageError(
    'STORE_BUSY',
    'another process replaced a key of the store in the meantime',
    {
      hint: 'run the command again',
    },
  )
}

/** Returns the SHA-256 of the public key's SubjectPublicKeyInfo, in hex. */
export function fingerprint(key: KeyObject): string {
  const spki = createPublicKey(
    key.export({ format: 'pem', type: key.type === 'private' ? 'pkcs8' : 'spki' }),
  )
  return createHash('sha256')
    .update(spki.export({ format: 'der', type: 'spki' }))
    .digest('hex')
}

/** Opens the store with an escrowed key, without the master key. */
export function createEscrowSource(escrow: Escrow, recoveryKey: KeyObject): MasterKeySource {
  return {
    kind: 'escrow',
    key: {
      wrap: () => Promise.reject(new TypeError('an escrow cannot wrap a key')),
      unwrap() {
        try {
          const key = { key: recoveryKey, ...OAEP }
          return Promise.resolve(privateDecrypt(key, Buffer.from(escrow.wrapped, 'base64')))
        } catch (cause) {
          const message = 'the recovery key does not open this escrow'
          return Promise.reject(new StorageError('MASTER_KEY_WRONG', message, { cause }))
        }
      },
    },
  }
}
