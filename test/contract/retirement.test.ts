/** Tests the retirement of key versions on both engines, from the request to the certificate of destruction. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { verifySigned } from '../../src/core/signature.ts'
import { checkEvidence } from '../../src/core/tlog/evidence.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { restore } from '../../src/killswitch/operator/restore.ts'
import {
  closeDeadManSwitch,
  endDeadManSwitch,
  renewDeadManSwitch,
  startDeadManSwitch,
} from '../../src/killswitch/operator/dead-man-switch.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import { findCertificate } from '../../src/retirement/certificate.ts'
import { shredVersion } from '../../src/retirement/destruction.ts'
import { createRetiredVersions } from '../../src/retirement/retired-versions.ts'
import {
  approveRetirement,
  cancelRetirement,
  reportVersions,
  requestRetirement,
} from '../../src/retirement/retirement.ts'
import { readEvents } from '../../src/store/event-log.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import { AT_ONCE, type ControlFixture, actor } from './control-fixture.ts'
import { testDestruction } from './retirement-destruction.ts'
import { DAY, ID, ORDER, V1, codeOf, setUp } from './retirement-fixture.ts'

t.setTimeout(180_000)

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
      const { proof: later = '', ...again } = (await findCertificate(store, V1)) ?? {}
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

  void t.test(`${name}: a use during the refusal period stops the destruction`, async (t) => {
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
    `${name}: uses not yet written at approval count before the destruction`,
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

  void t.test(`${name}: no uses during a kill prove nothing`, async (t) => {
    const { deps, store, clock } = await setUp(await open(t))
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
  })

  void t.test(`${name}: no uses of a disabled key prove nothing`, async (t) => {
    const { deps, keys, clock } = await setUp(await open(t))
    await keys.setKeyStatus(ID, 'DISABLED')
    clock.advance(31 * DAY)
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET')
    await keys.setKeyStatus(ID, 'ENABLED')
    clock.advance(DAY)
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET', 'nor later')
    clock.advance(31 * DAY)
    t.equal(await codeOf(requestRetirement(deps, ORDER)), 'done')
    await keys.setKeyStatus(ID, 'DISABLED')
    t.equal(await codeOf(approveRetirement(deps, V1, actor('bob'))), 'NOT_QUIET')
  })

  void t.test(`${name}: no uses before an activation date prove nothing`, async (t) => {
    const { deps, keys, clock } = await setUp(await open(t))
    const request = () => codeOf(requestRetirement(deps, ORDER))
    await keys.setKeyDates(ID, { activateAt: clock.now() + 40 * DAY })
    clock.advance(31 * DAY)
    t.equal(await request(), 'NOT_QUIET', 'while it is not active')
    clock.advance(10 * DAY)
    t.equal(await request(), 'NOT_QUIET', 'nor after the date')
    clock.advance(30 * DAY)
    await keys.setKeyDates(ID, { activateAt: clock.now() + 40 * DAY })
    clock.advance(20 * DAY)
    await keys.setKeyDates(ID, { activateAt: null })
    clock.advance(29 * DAY)
    t.equal(await request(), 'NOT_QUIET', 'nor after the date was removed')
    await keys.setKeyDates(ID, { deactivateAt: clock.now() })
    clock.advance(2 * DAY)
    t.equal(await request(), 'done', 'a deactivated key decrypts, so its silence counts')
    await keys.setKeyDates(ID, { activateAt: clock.now() + DAY, deactivateAt: null })
    t.equal(await codeOf(approveRetirement(deps, V1, actor('bob'))), 'NOT_QUIET')
  })

  void t.test(`${name}: no uses of a closed key store prove nothing`, async (t) => {
    const { deps, store, clock } = await setUp(await open(t))
    const kindsOf = async () =>
      (await store.database.snapshot((reader) => readEvents(reader, store.sealing))).map(
        ({ kind }) => kind,
      )
    const policy = { store, clock, policy: AT_ONCE }
    const order = { keyStore: 'demo', reason: 'r', ...actor('alice'), mayRestore: true }
    const closeFor31Days = async () => {
      await closeDeadManSwitch(policy, order)
      clock.advance(31 * DAY)
      t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET', 'while it is closed')
    }
    const ways = {
      renewed: () => renewDeadManSwitch(policy, order),
      started: () => startDeadManSwitch(policy, { ...order, ttlMs: DAY }),
      ended: () => endDeadManSwitch(policy, order),
    }
    await startDeadManSwitch(policy, { ...order, ttlMs: DAY })
    for (const [way, reopen] of Object.entries(ways)) {
      await closeFor31Days()
      await reopen()
      t.equal((await kindsOf()).at(-1), way === 'ended' ? 'deadman-ended' : 'deadman-reopened')
      clock.advance(DAY)
      t.equal(await codeOf(requestRetirement(deps, ORDER)), 'NOT_QUIET', `${way}: nor later`)
    }
    clock.advance(30 * DAY)
    const other = { ...order, keyStore: 'other' }
    await startDeadManSwitch(policy, { ...other, ttlMs: DAY })
    await closeDeadManSwitch(policy, other)
    await renewDeadManSwitch(policy, other)
    clock.advance(DAY)
    t.equal(
      await codeOf(requestRetirement(deps, ORDER)),
      'done',
      'another key store already uses no part',
    )
  })

  void t.test(
    `${name}: time in which everything is refused does not count as waiting time`,
    async (t) => {
      const { deps, keys, use, settle, store, clock } = await setUp(await open(t))
      clock.advance(31 * DAY)
      await requestRetirement(deps, ORDER)
      await approveRetirement(deps, V1, actor('bob'))
      const shred = () => codeOf(shredVersion(deps, V1, actor('carol')))
      const scope = { kind: 'key', keyStore: 'demo', keyId: ID } as const
      await kill(store, clock, { scope, direction: 'both', reason: 'r', operator: 'alice' })
      clock.advance(8 * DAY)
      t.equal(await shred(), 'NOT_QUIET', 'a kill is in force')
      await restore(store, clock, AT_ONCE, { target: { scope }, reason: 'r', ...actor('alice') })
      t.equal(await shred(), 'NOT_READY', 'it begins again')
      clock.advance(DAY)
      await keys.setKeyStatus(ID, 'DISABLED')
      clock.advance(8 * DAY)
      t.equal(await shred(), 'NOT_QUIET', 'the key is disabled')
      await keys.setKeyStatus(ID, 'ENABLED')
      t.equal(await shred(), 'NOT_READY')
      clock.advance(DAY)
      use({ reason: 'KILLED_MATCH' })
      await settle()
      clock.advance(6 * DAY)
      t.equal(await shred(), 'NOT_QUIET', 'a caller was refused for another reason')
    },
  )
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
testDestruction('SQLite', openSqlite)
testDestruction('PostgreSQL', openPostgres)
