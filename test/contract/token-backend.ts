/** Runs the key backend contract on any PKCS#11 token, using two key stores with different label prefixes. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import { openTokenKeyRecords } from '../../src/keys/pkcs11/key-records.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import type { TestToken } from '../support/pkcs11/tokens.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'
import { soon, type KeyBackendFixture } from '../../src/keys/suite/fixture.ts'
import { keyBackendContract, type KeyBackendContract } from './key-backend.ts'

export interface TokenContract {
  readonly name: string
  readonly create: (t: Test) => Promise<TestToken>
  readonly skip?: KeyBackendContract['skip']
}

export function tokenContract({ name, create, skip = [] }: TokenContract): void {
  keyBackendContract({
    name,
    create: async (t) => createFixture(t, await create(t)),
    traits: {
      maxPlaintextBytes: 65_536,
      ivSamples: 2000,
      importsKeys: true,
      // The backend must find the key on the token before its first use.
      firstEncryptWaits: true,
    },
    skip,
  })
}

async function createFixture(t: Test, token: TestToken): Promise<KeyBackendFixture> {
  const keys = await openKeysOn(t, token)
  const store = await (await storeFolder(t)).open()
  const records = await openTokenKeyRecords({ store, clock: systemClock, logger: silentLogger })
  t.teardown(() => records.close())
  const keyStore = (text: string) => {
    const name = keyStoreName(text)
    const prefix = `${text}/`
    return {
      backend: promised(enforceContract(keys.backend(prefix, records.of(name, true)))),
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
    settle: () => records.reload(),
    stall() {
      signal('SIGSTOP')
      return Promise.resolve(async () => {
        signal('SIGCONT')
        // Wait until the token is ACTIVE again, because requests fail immediately until then.
        while ((await main.backend.health(soon()))[0]?.status !== 'ACTIVE');
      })
    },
  }
}
