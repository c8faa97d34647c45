/** Runs the key backend contract on software keys, both bare and as wrapped by `app/server.ts`. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import type { KeyBackend } from '../../src/keys/key-backend.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import type { KeyBackendFixture, KeyBackendTraits } from '../../src/keys/suite/fixture.ts'
import { keyBackendContract } from './key-backend.ts'

const traits: KeyBackendTraits = {
  maxPlaintextBytes: 65_536,
  ivSamples: 5000,
  importsKeys: true,
  // The first Encrypt waits until a block of uses has been reserved.
  firstEncryptWaits: true,
}

async function create(
  t: Test,
  wrap: (backend: KeyBackend) => KeyBackend,
): Promise<KeyBackendFixture> {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const keystore = await folder.keystore(store)
  const keyStore = (text: string) => ({
    backend: promised(wrap(keystore.backend(keyStoreName(text)))),
    administration: keystore.administration(keyStoreName(text)),
  })
  return {
    ...keyStore('demo'),
    other: keyStore('other'),
    settle: () => keystore.reload(),
    async stall() {
      let release: () => void = () => undefined
      const released = new Promise<void>((resolve) => (release = resolve))
      // Occupy both connections, as an unresponsive disk would.
      const held = [
        store.database.transaction(() => released),
        store.database.snapshot(() => released),
      ]
      await Promise.resolve()
      return async () => {
        release()
        await Promise.all(held)
      }
    },
  }
}

keyBackendContract({
  name: 'software',
  create: (t) => create(t, (backend) => backend),
  traits,
  skip: [
    'a disabled key refuses both directions, and works as before once enabled',
    'a key refuses the direction that its usage excludes',
  ].map((test) => ({ test, reason: 'the contract decides whether a key may be used' })),
})

keyBackendContract({
  name: 'software, checked',
  create: (t) => create(t, enforceContract),
  traits,
  skip: [],
})
