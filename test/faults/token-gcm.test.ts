/** Tests that Latchkey's add-on and pkcs11js run AES-GCM on a token in the same way, and report the same failures. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import {
  createFromAddOn,
  createFromBinding,
  createTokenGcm,
  type GcmOperation,
  type TokenGcm,
} from '../../src/keys/pkcs11/worker/gcm/token-gcm.ts'
import { createKey } from '../../src/keys/pkcs11/worker/key-attributes.ts'
import { finalize, type Handle, invoke, loadModule } from '../../src/keys/pkcs11/worker/module.ts'
import { createBareSession } from '../../src/keys/pkcs11/worker/session.ts'
import { CkrFailure } from '../../src/keys/pkcs11/wire/errors.ts'
import { createSoftHsm, type TestToken, throughProxy } from '../support/pkcs11/tokens.ts'

t.jobs = 1

const CKM_AES_GCM = 0x1087
const TAG_BYTES = 16
const SIZES = [0, 1, 15, 16, 32, 4096, 65_536]

interface Ways {
  readonly addOn: TokenGcm
  readonly binding: TokenGcm
  readonly session: Handle
  readonly key: Handle
}

/** Loads a token's module in this process. */
async function load(t: Test, token: TestToken) {
  Object.assign(process.env, token.environment)
  const module = await loadModule(token.module, undefined)
  t.teardown(() => {
    finalize(module)
  })
  return module
}

async function openWays(t: Test): Promise<Ways> {
  const token = await createSoftHsm(t)
  const module = await load(t, token)
  const login = { module: token.module, token: { label: token.label }, pin: token.pin }
  const bare = createBareSession(module, login, systemClock)
  const session = bare.run('encrypt', Infinity, (one) => one)
  createKey(module, session, { label: 'key', canEncrypt: true, canDecrypt: true })
  const { cryptoki, constants: c } = module
  cryptoki.C_FindObjectsInit(session, [{ type: c.CKA_LABEL, value: 'key' }])
  const key = invoke('C_FindObjects', () => cryptoki.C_FindObjects(session, 1))[0]
  cryptoki.C_FindObjectsFinal(session)
  if (key === undefined) throw new Error('the token does not list its new key')
  const addOn = createTokenGcm(module)
  t.equal(addOn.missing, undefined, 'the add-on is the first choice')
  return { addOn, binding: createFromBinding(module, 'for this test'), session, key }
}

function toOperation({ session, key }: Ways, input: Buffer, aad: Buffer): GcmOperation {
  const output = Buffer.alloc(input.length + 2 * TAG_BYTES)
  const iv = randomBytes(12)
  const room = output.length
  return { session, key, mechanism: CKM_AES_GCM, iv, ivBits: 96, aad, input, output, room }
}

/** Runs one operation, and returns its output or `call: code` of its failure. */
function outcomeOf(operation: GcmOperation, run: (one: GcmOperation) => number): string {
  const output = Buffer.alloc(operation.output.length)
  try {
    return output.subarray(0, run({ ...operation, output })).toString('hex')
  } catch (error) {
    if (!(error instanceof CkrFailure)) throw error
    return `${error.call}: ${error.row.name}`
  }
}

void t.test('the add-on and pkcs11js', async (t) => {
  const ways = await openWays(t)
  const { addOn, binding } = ways

  await t.test("make the same ciphertexts, and decrypt each other's", (t) => {
    for (const size of SIZES) {
      for (const aadBytes of [0, 1, 65_558]) {
        const plaintext = randomBytes(size)
        const operation = toOperation(ways, plaintext, randomBytes(aadBytes))
        const sealed = outcomeOf(operation, addOn.encrypt)
        t.equal(sealed.length, 2 * (size + TAG_BYTES))
        t.equal(outcomeOf(operation, binding.encrypt), sealed)
        const back = { ...operation, input: Buffer.from(sealed, 'hex') }
        t.equal(outcomeOf(back, addOn.decrypt), plaintext.toString('hex'))
        t.equal(outcomeOf(back, binding.decrypt), plaintext.toString('hex'))
      }
    }
    t.end()
  })

  await t.test('report the same failures', (t) => {
    const operation = toOperation(ways, randomBytes(64), randomBytes(8))
    const noKey = { ...operation, key: Buffer.from('ffffffffffffff7f', 'hex') }
    const noSession = { ...operation, session: Buffer.from('ffffffffffffff7f', 'hex') }
    const noIv = { ...operation, iv: Buffer.alloc(0), ivBits: 0 }
    const noMechanism = { ...operation, mechanism: 0x7fff_ffff }
    const cases: readonly (readonly [string, RegExp, GcmOperation])[] = [
      ['a wrong key', /^C_(En|De)cryptInit: CKR_(OBJECT|KEY)_HANDLE_INVALID$/, noKey],
      ['a wrong session', /^C_(En|De)cryptInit: CKR_SESSION_HANDLE_INVALID$/, noSession],
      ['a wrong mechanism', /^C_(En|De)cryptInit: CKR_MECHANISM_INVALID$/, noMechanism],
      // SoftHSM encrypts with a fixed IV then. For other modules, NULL means that they generate one.
      ['no IV', /^(?:[0-9a-f]{160}|C_Decrypt: CKR_\w+)$/, noIv],
    ]
    for (const [name, form, one] of cases) {
      for (const operationOf of ['encrypt', 'decrypt'] as const) {
        const failure = outcomeOf(one, addOn[operationOf])
        t.match(failure, form, `${operationOf}: ${name}`)
        t.equal(outcomeOf(one, binding[operationOf]), failure)
      }
    }
    const forged = outcomeOf(operation, addOn.decrypt)
    t.match(forged, /^C_Decrypt: CKR_/, 'a wrong tag')
    t.equal(outcomeOf(operation, binding.decrypt), forged)
    t.end()
  })

  await t.test('refuse more room than there is', (t) => {
    const operation = toOperation(ways, randomBytes(64), randomBytes(8))
    const wide = { ...operation, room: operation.output.length + 1 }
    t.throws(() => addOn.encrypt(wide), { message: /^run expects/ })
    t.end()
  })

  await t.test('refuse a handle of another size', (t) => {
    const operation = toOperation(ways, randomBytes(64), randomBytes(8))
    for (const handle of ['session', 'key'] as const) {
      const one = { ...operation, [handle]: Buffer.alloc(4) }
      t.throws(() => addOn.encrypt(one), { message: /^run expects/ }, handle)
    }
    t.end()
  })

  await t.test('report a result that does not fit', (t) => {
    const operation = toOperation(ways, randomBytes(64), randomBytes(8))
    const narrow = { ...operation, room: 8 }
    t.equal(outcomeOf(narrow, addOn.encrypt), 'C_Encrypt: CKR_BUFFER_TOO_SMALL')
    // The operation stays open (PKCS #11 2.40, section 5.2), which is why a failed call ends its session.
    t.equal(outcomeOf(operation, binding.encrypt), 'C_EncryptInit: CKR_OPERATION_ACTIVE')
    t.end()
  })
})

void t.test('the add-on refuses libraries that are no module', (t) => {
  t.throws(() => createFromAddOn('/nonexistent/module.so'), { message: /cannot be loaded/ })
  t.throws(() => createFromAddOn('libc.so.6'), { message: /has no function list/ })
  t.end()
})

void t.test('pkcs11js serves a module with a function list for each caller', async (t) => {
  const token = throughProxy(await createSoftHsm(t))
  t.equal(
    createTokenGcm(await load(t, token)).missing,
    'the module has a function list for each caller',
  )
})
