/** Tests the final step of a retirement: concurrent cancellation, crashes, and tokens changed with vendor tools. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { KeyAdministration } from '../../src/keys/administration.ts'
import { BackendError } from '../../src/keys/errors.ts'
import { findCertificate } from '../../src/retirement/certificate.ts'
import { shredVersion } from '../../src/retirement/destruction.ts'
import { protectRetiring } from '../../src/retirement/service.ts'
import {
  approveRetirement,
  cancelRetirement,
  reportVersions,
  requestRetirement,
} from '../../src/retirement/retirement.ts'
import { readEvents } from '../../src/store/event-log.ts'
import { type ControlFixture, actor } from './control-fixture.ts'
import { DAY, ID, ORDER, V1, codeOf, setUp } from './retirement-fixture.ts'

/** @param open returns a new store */
export function testDestruction(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  /** Returns an approved retirement whose waiting period has ended. */
  async function approved(t: Test) {
    const all = await setUp(await open(t))
    const { deps, clock } = all
    clock.advance(31 * DAY)
    await requestRetirement(deps, ORDER)
    await approveRetirement(deps, V1, actor('bob'))
    clock.advance(8 * DAY)
    const cancel = () => codeOf(cancelRetirement(deps, V1, { ...actor('dave'), reason: 'stop' }))
    const versions = async () => (await all.keys.listKeys())[0]?.versions.map(({ state }) => state)
    return { ...all, cancel, versions }
  }

  void t.test(`${name}: a cancellation prevents the destruction, or is refused`, async (t) => {
    const { deps, keys, cancel, versions } = await approved(t)
    const before = {
      ...keys,
      async listKeys() {
        t.equal(await cancel(), 'done')
        return keys.listKeys()
      },
    }
    const shred = (through: typeof keys) =>
      codeOf(shredVersion({ ...deps, keys: through }, V1, actor('carol')))
    t.equal(await shred(before), 'NO_RETIREMENT')
    t.same(await versions(), ['PREVIOUS', 'CURRENT'], 'nothing is destroyed')

    const other = await approved(t)
    const during = {
      ...other.keys,
      async destroyVersion(...which: Parameters<typeof keys.destroyVersion>) {
        t.equal(await other.cancel(), 'ALREADY_RETIRED', 'too late')
        await other.keys.destroyVersion(...which)
        throw new Error('crashed')
      },
    }
    const late = { ...other.deps, keys: during }
    await t.rejects(shredVersion(late, V1, actor('carol')), /crashed/)
    t.same(await other.versions(), ['DESTROYED', 'CURRENT'])
    t.equal(await findCertificate(other.store, V1), undefined)
    const [report] = await reportVersions(other.deps, 'demo', ID)
    t.type(report?.retirement?.destroyingSince, 'number')
    other.use({ reason: 'VERSION_RETIRED' })
    await other.settle()
    const signed = await shredVersion(other.deps, V1, actor('erin'))
    t.match(signed.statement, { destroyedBy: actor('erin'), keyManager: 'software' })
    t.ok(await findCertificate(other.store, V1), 'a second run completes it')
  })

  void t.test(`${name}: a version that cannot be destroyed can still be cancelled`, async (t) => {
    const { deps, keys, cancel, versions } = await approved(t)
    const several = new BackendError('MISCONFIGURED', 'several tokens are configured')
    const unable = { ...keys, checkDestroyable: () => Promise.reject(several) }
    const shred = shredVersion({ ...deps, keys: unable }, V1, actor('carol'))
    t.equal(await codeOf(shred), 'MISCONFIGURED')
    t.equal(await cancel(), 'done', 'its destruction has not begun')
    t.same(await versions(), ['PREVIOUS', 'CURRENT'])
  })

  void t.test(`${name}: one person cannot destroy a version during its retirement`, async (t) => {
    const { deps, keys, store, clock, cancel, versions } = await approved(t)
    const alone = protectRetiring(keys, { store, keyStore: 'demo', clock, operator: 'mallory' })
    const destroy = () => codeOf(alone.destroyVersion(ID, 1))
    t.equal(await destroy(), 'ALREADY_RETIRED', 'approved')
    t.equal(await cancel(), 'done')
    await requestRetirement(deps, ORDER)
    t.equal(await destroy(), 'ALREADY_RETIRED', 'requested')
    t.same(await versions(), ['PREVIOUS', 'CURRENT'])
    t.equal(await cancel(), 'done')
    t.equal(await destroy(), 'done', 'after the cancellation')
    t.same(await versions(), ['DESTROYED', 'CURRENT'])
  })

  /** Returns a version that can be retired, and is not being retired. */
  async function retirable(t: Test) {
    const all = await setUp(await open(t))
    all.clock.advance(31 * DAY)
    const { store, clock } = all
    const retired = async () => (await reportVersions(all.deps, 'demo', ID))[0]?.retirement
    const protect = (own: KeyAdministration) =>
      protectRetiring(own, { store, keyStore: 'demo', clock, operator: 'mallory' })
    return { ...all, retired, protect }
  }

  void t.test(
    `${name}: a destruction and a request at the same moment exclude each other`,
    async (t) => {
      const { deps, keys, retired, protect } = await retirable(t)
      const requested = protect({
        ...keys,
        async destroyVersion(...which: Parameters<typeof keys.destroyVersion>) {
          await requestRetirement(deps, ORDER)
          return keys.destroyVersion(...which)
        },
      })
      t.equal(await codeOf(requested.destroyVersion(ID, 1)), 'ALREADY_RETIRED')
      t.match((await keys.listKeys())[0]?.versions, [{ state: 'PREVIOUS' }, { state: 'CURRENT' }])
      t.ok(await retired())

      const other = await retirable(t)
      const destroyed = {
        ...other.keys,
        async listKeys() {
          const before = await other.keys.listKeys()
          await other.protect(other.keys).destroyVersion(ID, 1)
          return before
        },
      }
      const request = requestRetirement({ ...other.deps, keys: destroyed }, ORDER)
      t.equal(await codeOf(request), 'VERSION_NOT_FOUND')
      t.equal(await other.retired(), undefined)
    },
  )

  void t.test(`${name}: a request while a token destroys the version is cancelled`, async (t) => {
    const { deps, keys, store, retired, protect } = await retirable(t)
    const onToken = protect({
      ...keys,
      async destroyVersion(id, version, guard) {
        await store.database.snapshot((reader) => guard?.check(reader) ?? Promise.resolve())
        await requestRetirement(deps, ORDER)
        const key = await keys.destroyVersion(id, version)
        await store.change((transaction) => guard?.settle(transaction) ?? Promise.resolve())
        return key
      },
    })
    t.equal(await codeOf(onToken.destroyVersion(ID, 1)), 'done')
    t.equal(await retired(), undefined)
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing, 0))
    t.match(events.at(-1), { kind: 'retire-cancelled', operator: 'mallory', detail: V1 })
  })

  void t.test(`${name}: a certificate does not claim destruction without proof`, async (t) => {
    // A token keeps no record of destroyed versions, and lists every remaining version under its current name.
    const onToken = (keys: KeyAdministration, isRenamed: boolean): KeyAdministration => ({
      ...keys,
      trustKey: () => Promise.reject(new Error('not used')),
      listKeys: async () =>
        (await keys.listKeys()).map((key) => ({
          ...key,
          versions: key.versions.filter(
            ({ state, version }) => state !== 'DESTROYED' && !(isRenamed && version === 1),
          ),
        })),
    })
    const managerOf = async ({ deps, keys }: Awaited<ReturnType<typeof approved>>, gone: boolean) =>
      (await shredVersion({ ...deps, keys: onToken(keys, gone) }, V1, actor('carol'))).statement
        .keyManager
    t.equal(await managerOf(await approved(t), false), 'token')
    t.equal(await managerOf(await approved(t), true), 'absent')
    const destroyed = await approved(t)
    await destroyed.keys.destroyVersion(ID, 1)
    t.equal(await managerOf(destroyed, false), 'token', 'Latchkey destroyed it before')
  })
}
