/** Tests that a backend that violates its contract causes errors, never a corrupt ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { enforceContract } from '../../../src/keys/contract.ts'
import { BackendError } from '../../../src/keys/errors.ts'
import type {
  DateState,
  KeyBackend,
  KeyDescription,
  SealedBytes,
} from '../../../src/keys/key-backend.ts'
import { Deadline, DeadlineExceeded } from '../../../src/core/deadline.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import {
  type EncryptedBytes,
  promised,
  type PromisedBackend,
} from '../../../src/keys/suite/promised-backend.ts'
import { keyId } from '../../support/server.ts'

const ID = keyId('key')
const DEADLINE = new Deadline(new FakeClock(), 1000)
const PLAINTEXT = Buffer.from('thirty-two bytes of a data key!!')
const AAD = Buffer.from('aad')
const BROKEN = { name: 'BackendError', code: 'CONTRACT' }

const SEALED: SealedBytes = {
  ciphertext: Buffer.alloc(32, 1),
  iv: Buffer.alloc(12, 2),
  tag: Buffer.alloc(16, 3),
}
const ENCRYPTED: EncryptedBytes = { version: 1, ...SEALED }
const KEY: KeyDescription = {
  keyId: ID,
  enabled: true,
  canEncrypt: true,
  canDecrypt: true,
  currentVersion: 1,
}

type Method = 'describe' | 'encrypt' | 'decrypt' | 'health' | 'close'

/** Returns a backend with results of type `any`, as a backend not written in TypeScript might produce. */
function backendOf(answers: Partial<Record<Method, () => unknown>>) {
  const calls: string[] = []
  const answer = (name: Method, otherwise: unknown) => async () => {
    calls.push(name)
    const given = answers[name]
    return given === undefined ? otherwise : given()
  }
  const describe = answer('describe', KEY)
  const methods = { encrypt: answer('encrypt', SEALED), decrypt: answer('decrypt', PLAINTEXT) }
  const backend = {
    vendor: 'test',
    find: async () => ({ ...((await describe()) as KeyDescription), ...methods }),
    health: answer('health', [{ id: 'm', model: 'm', status: 'ACTIVE' }]),
    close: answer('close', undefined),
  } as unknown as KeyBackend
  return { checked: promised(enforceContract(backend)), calls }
}

const encrypt = (backend: PromisedBackend, version = 1, aad = AAD) =>
  backend.encrypt({ keyId: ID, version, plaintext: PLAINTEXT, aad, deadline: DEADLINE })
const decrypt = (backend: PromisedBackend, sealed: EncryptedBytes = ENCRYPTED, aad = AAD) =>
  backend.decrypt({ keyId: ID, ...sealed, aad, deadline: DEADLINE })

void t.test('results that keep the contract are passed on as the same objects', async (t) => {
  const { checked, calls } = backendOf({})
  t.equal(checked.vendor, 'test')
  t.match(await checked.describe(ID, DEADLINE), KEY)
  t.equal(await encrypt(checked), SEALED)
  t.equal(await decrypt(checked), PLAINTEXT)
  t.match(await checked.health(DEADLINE), [{ status: 'ACTIVE' }])
  await checked.close()
  t.same(
    calls,
    ['describe', 'describe', 'encrypt', 'describe', 'decrypt', 'health', 'close'],
    'each call finds its key',
  )
  const long = { ...SEALED, iv: Buffer.alloc(16, 1) }
  t.equal(await encrypt(backendOf({ encrypt: () => long }).checked, 0xffff_ffff), long)
})

void t.test('a result of encrypt that is wrong in any way is refused', async (t) => {
  const results: Readonly<Record<string, unknown>> = {
    'a short ciphertext': { ...SEALED, ciphertext: Buffer.alloc(31, 1) },
    'a long ciphertext': { ...SEALED, ciphertext: Buffer.alloc(48, 1) },
    'no ciphertext': { ...SEALED, ciphertext: Buffer.alloc(0) },
    'an IV of zeros, as an HSM leaves it that wrote none': { ...SEALED, iv: Buffer.alloc(12) },
    'a long IV of zeros': { ...SEALED, iv: Buffer.alloc(16) },
    'no IV': { ...SEALED, iv: Buffer.alloc(0) },
    'an IV of 13 bytes': { ...SEALED, iv: Buffer.alloc(13, 1) },
    'an IV of 8 bytes': { ...SEALED, iv: Buffer.alloc(8, 1) },
    'a short tag': { ...SEALED, tag: Buffer.alloc(12, 1) },
    'a long tag': { ...SEALED, tag: Buffer.alloc(17, 1) },
    'an Uint8Array as ciphertext': { ...SEALED, ciphertext: new Uint8Array(32).fill(1) },
    'an Uint8Array as IV': { ...SEALED, iv: new Uint8Array(12).fill(1) },
    'an Uint8Array as tag': { ...SEALED, tag: new Uint8Array(16).fill(1) },
    'text as ciphertext': { ...SEALED, ciphertext: 'x'.repeat(32) },
    'a tag that is missing': { ...SEALED, tag: undefined },
  }
  for (const [name, result] of Object.entries(results)) {
    await t.rejects(encrypt(backendOf({ encrypt: () => result }).checked), BROKEN, name)
  }
  for (const result of [undefined, null, 7, 'text']) {
    const refused = encrypt(backendOf({ encrypt: () => result }).checked)
    await t.rejects(refused, { name: 'BackendError' }, String(result))
  }
})

void t.test('a result of decrypt that is wrong in any way is refused', async (t) => {
  for (const result of [
    Buffer.alloc(31),
    Buffer.alloc(33),
    Buffer.alloc(0),
    new Uint8Array(32),
    'x'.repeat(32),
    undefined,
    null,
  ]) {
    await t.rejects(decrypt(backendOf({ decrypt: () => result }).checked), BROKEN)
  }
})

void t.test('arguments that no key manager should see do not reach it', async (t) => {
  const { checked, calls } = backendOf({})
  for (const version of [0, -1, 1.5, NaN, Infinity, 2 ** 32]) {
    await t.rejects(encrypt(checked, version), BROKEN)
    await t.rejects(decrypt(checked, { ...ENCRYPTED, version }), BROKEN)
  }
  const long = Buffer.alloc(2 + 65_535 + 1 + 20 + 1)
  await t.rejects(encrypt(checked, 1, long), BROKEN)
  await t.rejects(decrypt(checked, ENCRYPTED, long), BROKEN)
  for (const length of [0, 8, 11, 13, 17])
    await t.rejects(decrypt(checked, { ...ENCRYPTED, iv: Buffer.alloc(length, 1) }), BROKEN)
  for (const length of [0, 12, 15, 17])
    await t.rejects(decrypt(checked, { ...ENCRYPTED, tag: Buffer.alloc(length, 1) }), BROKEN)
  const reached = () => calls.filter((name) => name !== 'describe')
  t.same(reached(), [])
  await encrypt(checked, 1, long.subarray(1))
  await decrypt(checked, { ...ENCRYPTED, iv: Buffer.alloc(16, 1) }, long.subarray(1))
  t.same(reached(), ['encrypt', 'decrypt'])
})

void t.test(
  'the description of another key, or of an impossible version, is refused',
  async (t) => {
    for (const described of [
      { ...KEY, keyId: 'other' },
      { ...KEY, currentVersion: 0 },
      { ...KEY, currentVersion: 2 ** 32 },
      { ...KEY, currentVersion: 1.5 },
      { ...KEY, currentVersion: '1' },
    ]) {
      const { checked } = backendOf({ describe: () => described })
      await t.rejects(checked.describe(ID, DEADLINE), BROKEN)
    }
  },
)

void t.test('health that KMS could not read is refused', async (t) => {
  const manager = { id: 'm', model: 'm', status: 'ACTIVE' }
  for (const managers of [
    [],
    Array.from({ length: 11 }, () => manager),
    [{ ...manager, id: '' }],
    [{ ...manager, id: 'x'.repeat(257) }],
    [{ ...manager, model: 'line\nbreak' }],
    [{ ...manager, model: 'münchen' }],
    [{ ...manager, status: 'FINE' }],
    [manager, { ...manager, status: undefined }],
  ]) {
    const { checked } = backendOf({ health: () => managers })
    await t.rejects(checked.health(DEADLINE), BROKEN)
  }
  const ten = Array.from({ length: 10 }, () => manager)
  t.equal(await backendOf({ health: () => ten }).checked.health(DEADLINE), ten)
})

void t.test("a backend's own errors are passed on, and others are converted", async (t) => {
  const own = new BackendError('KEY_DISABLED', 'disabled')
  const late = new DeadlineExceeded('late')
  const foreign = new TypeError('undefined is not a function')
  for (const [thrown, code] of [
    [own, 'KEY_DISABLED'],
    [late, 'TIMEOUT'],
    [foreign, 'UNAVAILABLE'],
    ['a text', 'UNAVAILABLE'],
    [undefined, 'UNAVAILABLE'],
    [{ code: 'KEY_NOT_FOUND', name: 'BackendError' }, 'UNAVAILABLE'],
  ] as const) {
    const fail = () => {
      throw thrown as Error
    }
    const { checked } = backendOf({ encrypt: fail, decrypt: fail, health: fail })
    for (const call of [
      backendOf({ describe: fail }).checked.describe(ID, DEADLINE),
      encrypt(checked),
      decrypt(checked),
      checked.health(DEADLINE),
    ]) {
      const error: unknown = await call.catch((rejected: unknown) => rejected)
      t.match(error, { name: 'BackendError', code })
      if (thrown === own) t.equal(error, own)
      else t.equal((error as Error).cause, thrown)
    }
  }
})

void t.test('an error that is thrown synchronously is converted, too', async (t) => {
  const throwing = () => {
    throw new RangeError('at once')
  }
  const lost = { vendor: 'v', find: throwing } as unknown as KeyBackend
  await t.rejects(promised(enforceContract(lost)).describe(ID, DEADLINE), { code: 'UNAVAILABLE' })
  const key = { ...KEY, encrypt: throwing, decrypt: throwing }
  const found = { vendor: 'v', find: () => key } as unknown as KeyBackend
  await t.rejects(encrypt(promised(enforceContract(found))), { code: 'UNAVAILABLE' })
  await t.rejects(decrypt(promised(enforceContract(found))), { code: 'UNAVAILABLE' })
})

void t.test(
  'a key is not used against its description, and its backend is not asked',
  async (t) => {
    for (const [described, refused] of [
      [{ enabled: false }, { encrypt: 'KEY_DISABLED', decrypt: 'KEY_DISABLED' }],
      [
        { enabled: false, canEncrypt: false },
        { encrypt: 'KEY_DISABLED', decrypt: 'KEY_DISABLED' },
      ],
      [{ canEncrypt: false }, { encrypt: 'KEY_USAGE' }],
      [{ canDecrypt: false }, { decrypt: 'KEY_USAGE' }],
    ] as const) {
      const { checked, calls } = backendOf({ describe: () => ({ ...KEY, ...described }) })
      const codes: Readonly<Record<string, string | undefined>> = refused
      const uses = [
        ['encrypt', async () => encrypt(checked)],
        ['decrypt', async () => decrypt(checked)],
      ] as const
      for (const [name, use] of uses) {
        const code = codes[name]
        if (code === undefined) await use()
        else
          await t.rejects(
            Promise.resolve<unknown>(use()),
            { name: 'BackendError', code },
            JSON.stringify(described),
          )
        t.equal(calls.includes(name), code === undefined)
      }
    }
  },
)

void t.test('the dates of a key decide before its backend is asked', async (t) => {
  let dateState: DateState | undefined
  const found = { ...KEY, encrypt: () => SEALED, decrypt: () => PLAINTEXT }
  const backend = { vendor: 'v', find: () => found } as unknown as KeyBackend
  const checked = promised(enforceContract(backend, () => dateState))
  const codeOf = (use: Promise<unknown>) =>
    use.then(
      () => 'done',
      (error: unknown) => (error as { code?: unknown }).code,
    )
  for (const [state, encrypts, decrypts] of [
    [undefined, 'done', 'done'],
    ['PRE_ACTIVE', 'KEY_NOT_ACTIVE', 'KEY_NOT_ACTIVE'],
    ['DEACTIVATED', 'KEY_DEACTIVATED', 'done'],
  ] as const) {
    dateState = state
    t.equal(await codeOf(encrypt(checked)), encrypts)
    t.equal(await codeOf(decrypt(checked)), decrypts)
    t.equal((await checked.describe(ID, DEADLINE)).dateState, state)
  }
})

void t.test('a verified encryption requires both directions', async (t) => {
  for (const [described, code] of [
    [{ enabled: false }, 'KEY_DISABLED'],
    [{ canEncrypt: false }, 'KEY_USAGE'],
    [{ canDecrypt: false }, 'KEY_USAGE'],
  ] as const) {
    const encryptVerified = () => t.fail('the backend was asked')
    const found = { find: () => ({ ...KEY, ...described, encryptVerified }) }
    const checked = promised(enforceContract(found as unknown as KeyBackend))
    const request = { keyId: ID, version: 1, plaintext: PLAINTEXT, aad: AAD, deadline: DEADLINE }
    await t.rejects(checked.encryptVerified(request), { name: 'BackendError', code })
  }
})
