/** Tests the backend when a token fails: it recovers within the request, and never makes the failure worse. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Pkcs11BackendConfig } from '../../src/config/config.ts'
import { decrypt, encrypt, keyId, refusal, soon } from '../../src/keys/suite/fixture.ts'
import { type PromisedBackend, promised } from '../../src/keys/suite/promised-backend.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { createSoftHsm, createTokenKeys, throughServer } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1

const KEY = keyId('key')
const AAD = Buffer.from('bound')
const ONE_SESSION = { sessions: { min: 1, max: 1 } }
const GENERAL_ERROR = 0x5
const FUNCTION_FAILED = 0x6
const PIN_INCORRECT = 0xa0
const OS_LOCKING_OK = 2

/** Return values that the backend must recover from within the same request. */
const RECOVERABLE = {
  CKR_HOST_MEMORY: 0x2,
  CKR_SLOT_ID_INVALID: 0x3,
  CKR_DEVICE_ERROR: 0x30,
  CKR_DEVICE_MEMORY: 0x31,
  CKR_DEVICE_REMOVED: 0x32,
  CKR_KEY_HANDLE_INVALID: 0x60,
  CKR_OBJECT_HANDLE_INVALID: 0x82,
  CKR_OPERATION_ACTIVE: 0x90,
  CKR_OPERATION_NOT_INITIALIZED: 0x91,
  CKR_SESSION_CLOSED: 0xb0,
  CKR_SESSION_HANDLE_INVALID: 0xb3,
  CKR_TOKEN_NOT_PRESENT: 0xe0,
  CKR_TOKEN_NOT_RECOGNIZED: 0xe1,
  CKR_USER_NOT_LOGGED_IN: 0x101,
  CKR_CRYPTOKI_NOT_INITIALIZED: 0x190,
} as const

async function opened(t: Test, more: Partial<Pkcs11BackendConfig> = {}) {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'key' }])
  const keys = await openKeysOn(t, token, more)
  return { token, control: token.control, keys, backend: backendOf(keys) }
}

function backendOf(keys: Awaited<ReturnType<typeof openKeysOn>>): PromisedBackend {
  return promised(enforceContract(keys.backend('', NO_RECORDS)))
}

async function roundTrip(t: Test, backend: PromisedBackend, message: string): Promise<void> {
  const plaintext = randomBytes(32)
  const sealed = await encrypt({ backend } as never, KEY, plaintext)
  const back = await decrypt({ backend } as never, KEY, sealed)
  t.ok(back.equals(plaintext), message)
}

void t.test('a single token error does not fail the request', async (t) => {
  const { control, backend } = await opened(t, ONE_SESSION)
  await roundTrip(t, backend, 'before')
  for (const [name, rv] of Object.entries(RECOVERABLE)) {
    for (const place of ['C_EncryptInit', 'C_Encrypt', 'C_DecryptInit', 'C_Decrypt']) {
      const { injected } = control.count(place)
      control.plan(place, { rv, times: 1 })
      await roundTrip(t, backend, `${name} from ${place}`)
      t.equal(control.count(place).injected, injected + 1, 'it was met')
    }
    t.equal(control.sessions(), 1, `${name}: what was replaced is closed`)
  }
  t.equal((await backend.health(soon()))[0]?.status, 'ACTIVE')
})

void t.test('device errors on 30 % of the calls fail almost no request', async (t) => {
  const { control, backend } = await opened(t, { sessions: { min: 2, max: 2 } })
  await roundTrip(t, backend, 'before')
  for (const place of ['C_EncryptInit', 'C_Encrypt', 'C_DecryptInit', 'C_Decrypt'])
    control.plan(place, { rv: RECOVERABLE.CKR_DEVICE_ERROR, probability: 0.3 })
  let failures = 0
  const use = async () => {
    const plaintext = randomBytes(32)
    const sealed = await encrypt({ backend } as never, KEY, plaintext)
    t.ok((await decrypt({ backend } as never, KEY, sealed)).equals(plaintext))
  }
  for (let round = 0; round < 200; round++) await use().catch(() => (failures += 1))
  t.ok(control.count('C_Encrypt').injected > 30, 'errors were met')
  t.ok(failures <= 2, `${String(failures)} of 200 round trips failed`)
})

void t.test('lost sessions, logins and handles do not fail a request', async (t) => {
  const { control, backend } = await opened(t, ONE_SESSION)
  await roundTrip(t, backend, 'before')
  const logins = control.count('C_Login').calls
  for (let round = 1; round <= 5; round++) {
    control.dropSessions()
    await roundTrip(t, backend, `round ${String(round)}`)
    t.equal(control.sessions(), 1)
  }
  t.equal(control.count('C_Login').calls, logins + 5)
})

void t.test('requests never wait for a lookup, and sessions stay open', async (t) => {
  const { control, backend } = await opened(t, ONE_SESSION)
  await roundTrip(t, backend, 'the first looks the key up')
  const sessions = control.sessions()
  const mark = control.mark()
  for (let round = 0; round < 100; round++) await roundTrip(t, backend, 'later')
  const called = new Set(control.log(mark).map((call) => call.function))
  t.same([...called].sort(), ['C_Decrypt', 'C_DecryptInit', 'C_Encrypt', 'C_EncryptInit'])
  t.equal(control.sessions(), sessions)
})

void t.test('every process permits OS locking, and makes one call at a time', async (t) => {
  const { control, backend } = await opened(t, { sessions: { min: 3, max: 3 } })
  await eventually(() => control.processes().length === 3)
  await Promise.all(Array.from({ length: 60 }, () => roundTrip(t, backend, 'at once')))
  for (const one of control.processes())
    t.match(one, { initializeFlags: OS_LOCKING_OK, initialized: 1, mostInFlight: 1, sessions: 1 })
})

void t.test('a wrong PIN is tried once, and nothing starts', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const wrong = { ...token, pin: '99999999' }
  await t.rejects(openKeysOn(t, wrong, { sessions: { min: 3, max: 3 } }), {
    ...refusal('MISCONFIGURED'),
    message: /PIN/,
  })
  t.match(token.control.count('C_Login'), { calls: 1, failed: 1 })
})

void t.test('a PIN that is rejected later is not tried again', async (t) => {
  const { control, backend } = await opened(t, ONE_SESSION)
  await roundTrip(t, backend, 'before')
  const logins = control.count('C_Login').calls
  control.plan('C_Login', { rv: PIN_INCORRECT })
  control.dropSessions()
  await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('UNAVAILABLE'))
  t.equal(control.count('C_Login').calls, logins + 1)
  await eventually(() => control.processes().length === 0)
  for (let round = 0; round < 20; round++) {
    await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('UNAVAILABLE'))
    t.equal((await backend.health(soon()))[0]?.status, 'UNAVAILABLE')
  }
  t.equal(control.count('C_Login').calls, logins + 1, 'in spite of requests and health checks')
})

void t.test('a new PIN is tried once, by one process', async (t) => {
  const { token, control, keys, backend } = await opened(t, { sessions: { min: 3, max: 3 } })
  await roundTrip(t, backend, 'before')
  control.plan('C_Login', { rv: PIN_INCORRECT })
  control.dropSessions()
  await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('UNAVAILABLE'))
  await eventually(() => control.processes().length === 0)
  control.heal()
  const logins = () => control.count('C_Login').calls
  const before = logins()
  keys.setPins([new Secret(token.pin)])
  await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('UNAVAILABLE'))
  t.equal(logins(), before, 'the same PIN is not tried')
  keys.setPins([new Secret('99999999')])
  await eventually(() => logins() === before + 1)
  await eventually(() => control.processes().length === 0)
  await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('UNAVAILABLE'))
  t.equal(logins(), before + 1, 'a wrong one is tried once')
  keys.setPins([new Secret(token.pin)])
  await eventually(() => isServed(backend))
  await eventually(() => control.processes().length === 3)
  const isActive = async () => (await backend.health(soon()))[0]?.status === 'ACTIVE'
  await eventually(isActive)
})

void t.test('fewer sessions than configured are sufficient', async (t) => {
  const { control, backend } = await opened(t, { sessions: { min: 1, max: 4 } })
  control.limitSessions(2)
  control.plan('C_Encrypt', { latencyMs: 20 })
  const many = Array.from({ length: 40 }, () => roundTrip(t, backend, 'under pressure'))
  await Promise.all(many)
  t.ok(control.sessions() <= 2)
  t.equal((await backend.health(soon()))[0]?.status, 'ACTIVE')
})

void t.test(
  'a generic error from a call without data is not blamed on the ciphertext',
  async (t) => {
    const { control, backend } = await opened(t, ONE_SESSION)
    const sealed = await encrypt({ backend } as never, KEY, AAD)
    for (const place of ['C_EncryptInit', 'C_DecryptInit']) {
      control.plan(place, { rv: GENERAL_ERROR, times: 1 })
      await roundTrip(t, backend, `once from ${place}: the key is looked up again`)
    }
    control.plan('C_DecryptInit', { rv: GENERAL_ERROR, times: 3 })
    t.ok((await decrypt({ backend } as never, KEY, sealed)).equals(AAD))
  },
)

void t.test('with functionFailedIsBusy, CKR_FUNCTION_FAILED on Encrypt is BUSY', async (t) => {
  const { control, backend } = await opened(t, { ...ONE_SESSION, functionFailedIsBusy: true })
  const sealed = await encrypt({ backend } as never, KEY, AAD)
  control.plan('C_Encrypt', { rv: FUNCTION_FAILED, times: 1 })
  await t.rejects(encrypt({ backend } as never, KEY, AAD), refusal('BUSY'))
  control.plan('C_Decrypt', { rv: FUNCTION_FAILED, times: 1 })
  await t.rejects(decrypt({ backend } as never, KEY, sealed), refusal('INTEGRITY_FAILURE'))
  await roundTrip(t, backend, 'afterwards')
})

void t.test('a wrong tag is blamed on the ciphertext, and a dead token is not', async (t) => {
  const { control, backend } = await opened(t, ONE_SESSION)
  const sealed = await encrypt({ backend } as never, KEY, randomBytes(32))
  const broken = { ...sealed, tag: randomBytes(16) }
  await t.rejects(decrypt({ backend } as never, KEY, broken), refusal('INTEGRITY_FAILURE'))
  await roundTrip(t, backend, 'after a wrong tag')
  for (const name of ['C_EncryptInit', 'C_DecryptInit', 'C_Decrypt'])
    control.plan(name, { rv: GENERAL_ERROR })
  await t.rejects(decrypt({ backend } as never, KEY, sealed), refusal('UNAVAILABLE'))
  control.heal()
  await eventually(() => isServed(backend))
  t.ok(await decrypt({ backend } as never, KEY, sealed))
})

void t.test('a token without AES-GCM is refused at startup, by name', async (t) => {
  const token = await throughServer(t, await createSoftHsm(t))
  const refused = await openKeysOn(t, token).then(
    () => undefined,
    (error: unknown) => error as Error,
  )
  t.match(refused, { ...refusal('MISCONFIGURED'), message: /CKM_AES_GCM/ })
  t.match(refused?.message, /xks/, 'the token is named')
})

async function isServed(backend: PromisedBackend): Promise<boolean> {
  return encrypt({ backend } as never, KEY, AAD).then(
    () => true,
    () => false,
  )
}
