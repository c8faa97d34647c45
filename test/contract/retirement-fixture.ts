/** Helpers for testing the retirement of key versions: a key with two versions, and a ledger of their uses. */
// SPDX-License-Identifier: Apache-2.0
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { reportVersions } from '../../src/retirement/retirement.ts'
import { createVersionLedger } from '../../src/usage/version-ledger.ts'
import { writeLedger } from '../../src/usage/version-table.ts'
import { keyId } from '../support/server.ts'
import { type ControlFixture, actor } from './control-fixture.ts'

export const DAY = 86_400_000
export const ID = keyId('payroll')
export const V1 = { keyStore: 'demo', keyId: ID, version: 1 }
export const ORDER = {
  ...V1,
  ...{
    reason: 'encrypted again',
    requestedBy: actor('alice'),
    quietForMs: 30 * DAY,
    waitForMs: 7 * DAY,
  },
}

export const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => String((error as { code?: unknown }).code),
  )

export async function setUp({ store, clock }: ControlFixture) {
  const keys = createKeyAdministration(store, 'demo', clock, 'alice')
  await keys.createKey({ keyId: ID, canEncrypt: true, canDecrypt: true })
  await keys.rotateKey(ID)
  const ledger = createVersionLedger({
    ...{ id: 'p', clock, maxPending: 100 },
    write: (uses, writer) => writeLedger(store.database, uses, writer),
  })
  const use = (more: { reason?: string; version?: number } = {}) => {
    const { reason, version = 1 } = more
    ledger.record({
      ...{ operation: 'Decrypt', keyStore: 'demo', keyId: ID, keyVersion: version },
      status: reason === undefined ? 200 : 400,
      ...(reason === undefined ? {} : { reason }),
      metadata: {
        awsPrincipalArn: 'arn:aws:sts::111122223333:assumed-role/app/i-1',
        ...{ kmsOperation: 'Decrypt', kmsRequestId: 'r' },
      },
    })
  }
  const deps = { store, clock, keys }
  // A clean shutdown leaves no gap, so the ledger is complete.
  const settle = async () => {
    await ledger.close()
    await reportVersions(deps, 'demo', ID)
  }
  await settle()
  return { deps, keys, use, settle, store, clock }
}
