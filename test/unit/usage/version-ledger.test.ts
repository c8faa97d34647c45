/** Tests what the key version ledger retains if a caller names many keys and versions. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type VersionUse, UNKNOWN, createVersionLedger } from '../../../src/usage/version-ledger.ts'
import { FakeClock } from '../../support/fake-clock.ts'

void t.test(
  'refused requests that name many versions stay countable, and none is lost',
  async (t) => {
    const written: VersionUse[] = []
    const ledger = createVersionLedger({
      ...{ id: 'p', clock: new FakeClock(), maxPending: 10 },
      write(uses) {
        written.push(...uses)
        return Promise.resolve()
      },
    })
    const refuse = (keyVersion: number, reason: string) => {
      ledger.record({
        ...{ operation: 'Decrypt', keyStore: 'demo', keyId: 'k', keyVersion, status: 400, reason },
        metadata: undefined,
      })
    }
    for (let i = 1; i <= 1000; i++) refuse(i, 'KILLED_MATCH')
    refuse(1, 'KILLED_MATCH')
    refuse(2000, 'VERSION_RETIRED')
    refuse(2001, 'KEY_NOT_FOUND')
    await ledger.flush()
    t.equal(written.length, 12)
    t.match(
      written.find(({ keyId }) => keyId === UNKNOWN.keyId),
      { keyStore: 'demo', version: UNKNOWN.version, kind: 'decrypt', uses: 990 },
    )
    t.equal(written.find(({ version }) => version === 1)?.uses, 2)
    t.match(
      written.find(({ kind }) => kind === 'refused'),
      { keyId: 'k', version: 2000 },
    )
  },
)
