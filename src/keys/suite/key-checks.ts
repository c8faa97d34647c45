/**
 * Checks the part of the key backend contract that concerns keys: states, versions, key stores,
 * health, deadlines and shutdown.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { AAD, createKey, decrypt, encrypt, keyId, refusal, soon, type Checks } from './fixture.ts'

const PLAINTEXT = Buffer.from('a data key of thirty-two bytes!!')
const INPUT = { plaintext: PLAINTEXT, aad: AAD }

export const KEY_CHECKS: Checks = {
  'describe returns state, usage and current version': async (t, fixture) => {
    const { backend } = fixture
    for (const [name, canEncrypt, canDecrypt] of [
      ['both', true, true],
      ['encrypt-only', true, false],
      ['decrypt-only', false, true],
      ['none', false, false],
    ] as const) {
      const id = await createKey(fixture, name, { canEncrypt, canDecrypt })
      const expected = { keyId: id, enabled: true, canEncrypt, canDecrypt, currentVersion: 1 }
      t.match(await backend.describe(id, soon()), expected)
    }
  },

  'every key id that the specification allows identifies exactly one key': async (t, fixture) => {
    const names = ['a', 'A', '...', '-', '_', 'a.b', 'a_b', 'a-b', 'x'.repeat(128), '0']
    for (const name of names) await createKey(fixture, name)
    for (const name of names) {
      const sealed = await encrypt(fixture, keyId(name), Buffer.from(name))
      t.equal((await decrypt(fixture, keyId(name), sealed)).toString(), name)
      if (name !== 'a')
        await t.rejects(decrypt(fixture, keyId('a'), sealed), refusal('INTEGRITY_FAILURE'))
    }
  },

  'every call for a missing key fails with KEY_NOT_FOUND': async (t, fixture) => {
    const { backend } = fixture
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, PLAINTEXT)
    for (const name of ['nobody', 'KEY', 'key.', '__proto__', 'constructor']) {
      const stranger = keyId(name)
      const gone = refusal('KEY_NOT_FOUND')
      await t.rejects(backend.describe(stranger, soon()), gone, name)
      await t.rejects(
        backend.encrypt({ keyId: stranger, version: 1, ...INPUT, deadline: soon() }),
        gone,
      )
      await t.rejects(
        backend.decrypt({ keyId: stranger, ...sealed, aad: AAD, deadline: soon() }),
        gone,
      )
    }
  },

  'a disabled key refuses both directions, and works as before once enabled': async (
    t,
    fixture,
  ) => {
    const { backend, administration } = fixture
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, PLAINTEXT)
    await administration.setKeyStatus(id, 'DISABLED')
    await fixture.settle()
    t.match(await backend.describe(id, soon()), { enabled: false, currentVersion: 1 })
    const disabled = refusal('KEY_DISABLED')
    await t.rejects(
      backend.encrypt({ keyId: id, version: 1, ...INPUT, deadline: soon() }),
      disabled,
    )
    await t.rejects(decrypt(fixture, id, sealed), disabled)
    await administration.setKeyStatus(id, 'ENABLED')
    await fixture.settle()
    t.match(await backend.describe(id, soon()), { enabled: true, currentVersion: 1 })
    t.ok((await decrypt(fixture, id, sealed)).equals(PLAINTEXT))
  },

  'a key refuses the direction that its usage excludes': async (t, fixture) => {
    const { backend } = fixture
    const usage = refusal('KEY_USAGE')
    const both = await createKey(fixture, 'both')
    const sealed = await encrypt(fixture, both, PLAINTEXT)
    const encryptOnly = await createKey(fixture, 'encrypt-only', { canDecrypt: false })
    const made = await encrypt(fixture, encryptOnly, PLAINTEXT)
    await t.rejects(
      backend.decrypt({ keyId: encryptOnly, ...made, aad: AAD, deadline: soon() }),
      usage,
    )
    const decryptOnly = await createKey(fixture, 'decrypt-only', { canEncrypt: false })
    await t.rejects(
      backend.encrypt({ keyId: decryptOnly, version: 1, ...INPUT, deadline: soon() }),
      usage,
    )
    await t.rejects(
      backend.decrypt({ keyId: decryptOnly, ...sealed, aad: AAD, deadline: soon() }),
      refusal('INTEGRITY_FAILURE'),
      'a key decrypts its own ciphertexts, but not those of another key',
    )
  },

  'after a rotation, each old version decrypts its own ciphertexts and no others': async (
    t,
    fixture,
  ) => {
    const { administration } = fixture
    const id = await createKey(fixture)
    const made = [await encrypt(fixture, id, PLAINTEXT)]
    for (const version of [2, 3]) {
      await administration.rotateKey(id)
      await fixture.settle()
      const sealed = await encrypt(fixture, id, PLAINTEXT)
      t.equal(sealed.version, version)
      made.push(sealed)
    }
    for (const sealed of made) {
      t.ok((await decrypt(fixture, id, sealed)).equals(PLAINTEXT), String(sealed.version))
      const otherVersion = { ...sealed, version: (sealed.version % 3) + 1 }
      await t.rejects(decrypt(fixture, id, otherVersion), refusal('INTEGRITY_FAILURE'))
    }
  },

  'a version that never existed causes VERSION_NOT_FOUND': async (t, fixture) => {
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, PLAINTEXT)
    const gone = refusal('VERSION_NOT_FOUND')
    for (const version of [2, 0xffff_ffff]) {
      await t.rejects(
        fixture.backend.encrypt({ keyId: id, version, ...INPUT, deadline: soon() }),
        gone,
      )
      await t.rejects(decrypt(fixture, id, { ...sealed, version }), gone)
    }
  },

  'a destroyed version causes VERSION_NOT_FOUND, and the others keep working': async (
    t,
    fixture,
  ) => {
    const { backend, administration } = fixture
    const id = await createKey(fixture)
    const first = await encrypt(fixture, id, PLAINTEXT)
    await administration.rotateKey(id)
    await fixture.settle()
    const second = await encrypt(fixture, id, PLAINTEXT)
    await administration.destroyVersion(id, 1)
    await fixture.settle()
    const gone = refusal('VERSION_NOT_FOUND')
    await t.rejects(decrypt(fixture, id, first), gone)
    await t.rejects(backend.encrypt({ keyId: id, version: 1, ...INPUT, deadline: soon() }), gone)
    t.ok((await decrypt(fixture, id, second)).equals(PLAINTEXT))
    t.match(await backend.describe(id, soon()), { enabled: true, currentVersion: 2 })
  },

  'key stores are isolated: the same id in two key stores identifies two keys': async (
    t,
    fixture,
  ) => {
    const { other } = fixture
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, PLAINTEXT)
    await t.rejects(other.backend.describe(id, soon()), refusal('KEY_NOT_FOUND'))
    await t.rejects(decrypt(other, id, sealed), refusal('KEY_NOT_FOUND'))
    await createKey(fixture, 'key', {}, other)
    await t.rejects(decrypt(other, id, sealed), refusal('INTEGRITY_FAILURE'))
    await other.administration.setKeyStatus(id, 'DISABLED')
    await fixture.settle()
    t.ok((await decrypt(fixture, id, sealed)).equals(PLAINTEXT))
  },

  'pages of the list contain the same keys, with all of their versions': async (t, fixture) => {
    const { administration, other } = fixture
    for (const name of ['b', 'a-1', 'a', 'c']) await createKey(fixture, name)
    await createKey(fixture, 'aa', {}, other)
    await administration.rotateKey(keyId('a-1'))
    await administration.setKeyStatus(keyId('b'), 'DISABLED')
    const whole = await administration.listKeys()
    t.equal(whole.length, 4)
    for (const [at, { keyId: id }] of whole.entries()) {
      const part = await administration.listKeys({ after: id, limit: 2 })
      t.same(part, whole.slice(at + 1, at + 3), `the keys after ${id}`)
    }
    t.same(await administration.listKeys({ after: undefined, limit: 3 }), whole.slice(0, 3))
    const between = await administration.listKeys({ after: keyId('bb'), limit: 9 })
    t.same(between, whole.slice(3), 'the id need not exist')
  },

  '[HLT-2] health works before any key exists, with a test key that no caller can reach': async (
    t,
    fixture,
  ) => {
    const { backend, administration } = fixture
    t.same(await administration.listKeys(), [], 'there are no customer keys')
    t.match(await backend.health(soon()), [{ status: 'ACTIVE' }])
    for (const name of ['health', '.health', 'test'])
      await t.rejects(backend.describe(keyId(name), soon()), refusal('KEY_NOT_FOUND'))
  },

  "[HLT-2] health neither uses nor needs a customer's key": async (t, fixture) => {
    const { backend, administration } = fixture
    const id = await createKey(fixture)
    await administration.setKeyStatus(id, 'DISABLED')
    await fixture.settle()
    const before = await administration.listKeys()
    for (let round = 0; round < 3; round++)
      t.match(await backend.health(soon()), [{ status: 'ACTIVE' }])
    t.same(await administration.listKeys(), before, 'no use is counted, and no key is created')
  },

  'health lists one to ten key managers in printable ASCII': async (t, { backend }) => {
    const managers = await backend.health(soon())
    t.ok(managers.length >= 1 && managers.length <= 10)
    for (const { id, model } of managers) {
      t.match(id, /^[\x20-\x7e]{1,256}$/)
      t.match(model, /^[\x20-\x7e]{1,256}$/)
    }
    t.equal(
      new Set(managers.map(({ id }) => id)).size,
      managers.length,
      'each key manager has its own id',
    )
    t.match(backend.vendor, /^[\x20-\x7e]{1,256}$/)
  },

  'an unresponsive key manager causes a TIMEOUT, and the backend recovers': async (
    t,
    fixture,
    traits,
  ) => {
    const { backend } = fixture
    const id = await createKey(fixture)
    const release = await fixture.stall()
    const brief = () => new Deadline(systemClock, 50)
    const outcomeOf = (attempt: Promise<unknown>): Promise<unknown> =>
      attempt.then(
        () => 'done',
        (error: unknown) => error,
      )
    const attempts: readonly (readonly [string, Promise<unknown>])[] = [
      [
        'encrypt',
        outcomeOf(backend.encrypt({ keyId: id, version: 1, ...INPUT, deadline: brief() })),
      ],
      ['describe', outcomeOf(backend.describe(id, brief()))],
      ['health', outcomeOf(backend.health(brief()))],
    ]
    for (const [name, attempt] of attempts) {
      const outcome = await attempt
      if (outcome !== 'done') t.match(outcome, refusal('TIMEOUT'), name)
      if (name === 'encrypt') t.equal(outcome !== 'done', traits.firstEncryptWaits, name)
    }
    await release()
    t.ok((await decrypt(fixture, id, await encrypt(fixture, id, PLAINTEXT))).equals(PLAINTEXT))
    t.match(await backend.health(soon()), [{ status: 'ACTIVE' }])
  },

  'after close, every call is UNAVAILABLE, and the other key store keeps working': async (
    t,
    fixture,
  ) => {
    const { backend, other } = fixture
    const id = await createKey(fixture)
    await createKey(fixture, 'key', {}, other)
    const sealed = await encrypt(fixture, id, PLAINTEXT)
    await backend.close()
    const closed = refusal('UNAVAILABLE')
    await t.rejects(backend.describe(id, soon()), closed)
    await t.rejects(backend.encrypt({ keyId: id, version: 1, ...INPUT, deadline: soon() }), closed)
    await t.rejects(decrypt(fixture, id, sealed), closed)
    await t.rejects(backend.health(soon()), closed)
    await backend.close()
    t.ok((await decrypt(other, id, await encrypt(other, id, PLAINTEXT))).equals(PLAINTEXT))
  },
}
