/**
 * A key backend in an easily tested form: every result is a promise, and each call looks up its
 * key.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import {
  type BackendKey,
  type DecryptRequest,
  type EncryptRequest,
  type KeyBackend,
  type KeyDescription,
  type SealedBytes,
  type VerifiedEncryptRequest,
  type VerifiedSealedBytes,
  canVerify,
} from '../key-backend.ts'

export type EncryptedBytes = SealedBytes & { readonly version: number }

interface OfKey {
  readonly keyId: ExternalKeyId
}

export interface PromisedBackend extends Pick<KeyBackend, 'vendor' | 'health' | 'close'> {
  describe(keyId: ExternalKeyId, deadline: Deadline): Promise<KeyDescription>
  encrypt(request: EncryptRequest & OfKey): Promise<SealedBytes>
  encryptVerified(request: VerifiedEncryptRequest & OfKey): Promise<VerifiedSealedBytes>
  decrypt(request: DecryptRequest & OfKey): Promise<Buffer>
}

export function promised(backend: KeyBackend): PromisedBackend {
  const find = async (keyId: ExternalKeyId, deadline: Deadline): Promise<BackendKey> =>
    backend.find(keyId, deadline)
  return {
    get vendor() {
      return backend.vendor
    },
    describe: find,
    async encrypt({ keyId, ...request }) {
      return (await find(keyId, request.deadline)).encrypt(request)
    },
    async encryptVerified({ keyId, ...request }) {
      const key = await find(keyId, request.deadline)
      if (!canVerify(key)) throw new TypeError('this key does not support encryptVerified')
      return key.encryptVerified(request)
    },
    async decrypt({ keyId, ...request }) {
      return (await find(keyId, request.deadline)).decrypt(request)
    },
    health: (deadline) => backend.health(deadline),
    close: () => backend.close(),
  }
}
