/** Keys on a SoftHSM token keep the contract of a key backend. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createCheckedBackend } from '../../src/backend/checked.ts'
import { openTokenKeyRecords } from '../../src/backend/pkcs11/key-records.ts'
import { createSoftHsm, openTestKeys, softHsmConfig } from '../support/softhsm.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'
import { soon, type KeyBackendFixture } from './key-backend-fixture.ts'
import { keyBackendContract } from './key-backend.ts'

t.jobs = 1

/** Two key stores on one token, whose keys are told apart by the prefix of their labels. */
async function create(t: Test): Promise<KeyBackendFixture> {
  const softhsm = await createSoftHsm(t)
  const keys = await openTestKeys(t, softHsmConfig(softhsm))
  const store = await (await storeFolder(t)).open()
  const records = await openTokenKeyRecords(store)
  const keyStore = (text: string) => {
    const name = keyStoreName(text)
    const prefix = `${text}/`
    return {
      backend: createCheckedBackend(keys.backend(prefix, (keyId) => records.status(name, keyId))),
      administration: keys.administration(name, prefix, store),
    }
  }
  const main = keyStore('demo')
  const signal = (name: NodeJS.Signals) => {
    for (const pid of keys.pids()) process.kill(pid, name)
  }
  return {
    ...main,
    other: keyStore('other'),
    async settle() {
      keys.reload()
      await records.reload()
    },
    stall() {
      signal('SIGSTOP')
      return Promise.resolve(async () => {
        signal('SIGCONT')
        // Until then, whoever asks is refused at once.
        while ((await main.backend.health(soon()))[0]?.status !== 'ACTIVE');
      })
    },
  }
}

keyBackendContract({
  name: 'SoftHSM',
  create,
  traits: {
    maxPlaintextBytes: 65_536,
    ivSamples: 5000,
    importsKeys: true,
    // Nothing is known of a key before the token was asked.
    firstEncryptWaits: true,
  },
  skip: [],
})
