/** A key backend whose every answer is a promise, as tests of answers and of refusals like to have it. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend, KeyDescription, SealedBytes } from '../../src/keys/key-backend.ts'

export interface PromisedBackend extends KeyBackend {
  describe(...parameters: Parameters<KeyBackend['describe']>): Promise<KeyDescription>
  encrypt(...parameters: Parameters<KeyBackend['encrypt']>): Promise<SealedBytes>
  decrypt(...parameters: Parameters<KeyBackend['decrypt']>): Promise<Buffer>
}

export function promised(backend: KeyBackend): PromisedBackend {
  return {
    get vendor() {
      return backend.vendor
    },
    describe: async (...parameters) => backend.describe(...parameters),
    encrypt: async (...parameters) => backend.encrypt(...parameters),
    decrypt: async (...parameters) => backend.decrypt(...parameters),
    health: (deadline) => backend.health(deadline),
    close: () => backend.close(),
  }
}
