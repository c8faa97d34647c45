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
    const { deps, keys, store, cancel, versions } = await approved(t)
    const alone = protectRetiring(keys, { store, keyStore: 'demo' })
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
