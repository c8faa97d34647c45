/** Tests the retirement of key versions on both engines, from the request to the certificate. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { verifySigned } from '../../src/core/signature.ts'
import { checkEvidence } from '../../src/core/tlog/evidence.ts'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { restore } from '../../src/killswitch/operator/restore.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import { findCertificate } from '../../src/retirement/certificate.ts'
import { createRetiredVersions } from '../../src/retirement/retired-versions.ts'
import {
  approveRetirement,
  cancelRetirement,
  reportVersions,
  requestRetirement,
  shredVersion,
} from '../../src/retirement/retirement.ts'
import { createVersionLedger } from '../../src/usage/version-ledger.ts'
import { writeLedger } from '../../src/usage/version-table.ts'
import { keyId } from '../support/server.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import { AT_ONCE, type ControlFixture, actor } from './control-fixture.ts'

t.setTimeout(180_000)

const DAY = 86_400_000
const ID = keyId('payroll')
const V1 = { keyStore: 'demo', keyId: ID, version: 1 }
const ORDER = {
  ...V1,
  ...{
    reason: 'encrypted again',
    requestedBy: actor('alice'),
    quietForMs: 30 * DAY,
    waitForMs: 7 * DAY,
  },
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => String((error as { code?: unknown }).code),
  )

async function setUp({ store, clock }: ControlFixture) {
  const keys = createKeyAdministration(store, 'demo', clock)
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
  // A process that shuts down cleanly leaves no gap, so the ledger is complete.
  const settle = async () => {
    await ledger.close()
    await reportVersions(deps, 'demo', ID)
  }
  await settle()
  return { deps, keys, use, settle, store, clock }
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(
    `${name}: a version is retired by two people, refuses, and is destroyed`,
    async (t) => {
      const { deps, keys, use, settle, store, clock } = await setUp(await open(t))
      use()
      await settle()
      t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET')
      t.equal(await codeOf(requestRetirement(deps, { ...ORDER, version: 2 })), 'KEY_USAGE')
      t.equal(await codeOf(requestRetirement(deps, { ...ORDER, version: 3 })), 'VERSION_NOT_FOUND')
      clock.advance(31 * DAY)
      await requestRetirement(deps, ORDER)
      t.equal(await codeOf(requestRetirement(deps, ORDER)), 'ALREADY_RETIRED')
      t.equal(await codeOf(shredVersion(deps, V1, actor('carol'))), 'NOT_APPROVED')
      t.equal(await codeOf(approveRetirement(deps, V1, actor('alice'))), 'SAME_PERSON')

      const retired = createRetiredVersions(store)
      await retired.reload()
      t.notOk(retired.has('demo', ID, 1), 'a request refuses nothing')
      const approved = await approveRetirement(deps, V1, actor('bob'))
      await retired.reload()
      t.ok(retired.has('demo', ID, 1))
      t.notOk(retired.has('demo', ID, 2))
      t.equal(await codeOf(shredVersion(deps, V1, actor('carol'))), 'NOT_READY')
      clock.advance(7 * DAY)
      const signed = await shredVersion(deps, V1, actor('carol'))
      t.match(signed.statement, {
        ...{ ...V1, kind: 'destruction', storeId: store.id, keyManager: 'software' },
        ...{
          requestedBy: actor('alice'),
          approval: { ...actor('bob'), at: approved.approval?.at },
        },
        destroyedBy: actor('carol'),
      })
      const { publicKey } = await openSigner(store)
      t.ok(verifySigned(signed, publicKey, 'destruction'))
      t.notOk(verifySigned(signed, publicKey), 'it is no receipt of a kill')
      const { proof = '', ...certificate } = signed
      t.match(checkEvidence(proof, publicKey), { certificate: { kind: 'control log' } })
      const { proof: later = '', ...again } = await findCertificate(store, V1)
      t.same(again, certificate)
      t.match(checkEvidence(later, publicKey), { certificate: { kind: 'control log' } })
      const [key] = await keys.listKeys()
      t.match(key?.versions, [{ state: 'DESTROYED' }, { state: 'CURRENT' }])
      t.equal(await codeOf(shredVersion(deps, V1, actor('carol'))), 'ALREADY_RETIRED')
      t.equal(
        await codeOf(cancelRetirement(deps, V1, { ...actor('bob'), reason: 'no' })),
        'ALREADY_RETIRED',
      )
      await store.audit()
    },
  )

  void t.test(`${name}: a user who shows up while it refuses stops the destruction`, async (t) => {
    const { deps, use, settle, store, clock } = await setUp(await open(t))
    clock.advance(31 * DAY)
    await requestRetirement(deps, ORDER)
    await approveRetirement(deps, V1, actor('bob'))
    clock.advance(3 * DAY)
    use({ reason: 'VERSION_RETIRED' })
    await settle()
    clock.advance(5 * DAY)
    t.equal(await codeOf(shredVersion(deps, V1, actor('carol'))), 'NOT_QUIET')
    t.match(await reportVersions(deps, 'demo', ID), [
      {
        uses: [{ kind: 'refused', caller: 'arn:aws:sts::111122223333:assumed-role/app', uses: 1 }],
      },
      { uses: [] },
    ])
    await cancelRetirement(deps, V1, { ...actor('dave'), reason: 'the app needs it' })
    const retired = createRetiredVersions(store)
    await retired.reload()
    t.notOk(retired.has('demo', ID, 1))
  })

  void t.test(
    `${name}: what was unwritten at the approval counts before the destruction`,
    async (t) => {
      const { deps, use, settle, clock } = await setUp(await open(t))
      clock.advance(31 * DAY)
      await requestRetirement(deps, ORDER)
      use()
      await approveRetirement(deps, V1, actor('bob'))
      clock.advance(8 * DAY)
      await settle()
      t.equal(await codeOf(shredVersion(deps, V1, actor('carol'))), 'NOT_QUIET')
    },
  )

  void t.test(`${name}: silence under a kill proves nothing`, async (t) => {
    const { deps, keys, store, clock } = await setUp(await open(t))
    const scope = { kind: 'key', keyStore: 'demo', keyId: ID } as const
    await kill(store, clock, { scope, direction: 'both', reason: 'r', operator: 'alice' })
    clock.advance(31 * DAY)
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET')
    await restore(store, clock, AT_ONCE, { target: { scope }, reason: 'r', ...actor('alice') })
    clock.advance(DAY)
    t.equal(
      await codeOf(requestRetirement(deps, ORDER)),
      'NOT_QUIET',
      'nor does its time count later',
    )
    clock.advance(30 * DAY)
    await keys.setKeyStatus(ID, 'DISABLED')
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET')
    await keys.setKeyStatus(ID, 'ENABLED')
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'done')
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
