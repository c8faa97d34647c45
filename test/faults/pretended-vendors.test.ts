/** Tests the fault module's IV handling when it emulates HSMs that generate their own IVs. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { input, openKey, openWithFaults, type Place } from '../support/pkcs11/gcm-place.ts'
import type { GcmInput } from '../support/pkcs11/module-steps.ts'

const MECHANISM_INVALID = 0x70
const MECHANISM_PARAM_INVALID = 0x71
const BUFFER_TOO_SMALL = 0x150
const CLOUDHSM_AES_GCM = 0x80001087

void t.test('like Luna: the HSM generates the IV and appends it after the tag', async (t) => {
  const first = await openWithFaults(t)
  const plaintext = randomBytes(32)
  const none = input(plaintext, Buffer.alloc(0), { ivBits: 0 })
  const roundTrip = async (place: Place, given: GcmInput, ivBytes: number) => {
    const { module, session, key } = place
    const { output } = await module.step({ step: 'encrypt', session, key, ...given })
    t.equal(output.length, 32 + 16 + ivBytes)
    const iv = output.subarray(48)
    const sealed = input(output.subarray(0, 48), iv)
    const { output: back } = await module.step({ step: 'decrypt', session, key, ...sealed })
    t.ok(back.equals(plaintext))
  }
  first.control.pretend('luna')
  await roundTrip(first, none, 16)
  await roundTrip(first, { ...none, ivBits: 96 }, 16)
  const { token, control, module, session, key } = first
  const own = { step: 'encrypt', session, key, ...input(plaintext) } as const
  t.equal(await module.rvOf(own), MECHANISM_PARAM_INVALID)
  const narrow = { step: 'encrypt', session, key, ...none, room: 16 } as const
  t.equal(await module.rvOf(narrow), BUFFER_TOO_SMALL)

  // The failed operation is still active in the first session, so continue in another one.
  const next = await openKey(t, token)
  control.pretend('luna 7.9.3')
  await roundTrip(next, none, 16)
  await roundTrip(next, { ...none, ivBits: 96 }, 12)
})

void t.test("like CloudHSM: the IV overwrites the zeros in the caller's buffer", async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  const plaintext = randomBytes(32)
  control.pretend('cloudhsm')
  for (const iv of [randomBytes(12), Buffer.alloc(0), Buffer.alloc(16)]) {
    const refused = { step: 'encrypt', session, key, ...input(plaintext, iv) } as const
    t.equal(await module.rvOf(refused), MECHANISM_PARAM_INVALID)
  }
  const zeros = Buffer.alloc(12)
  const first = await module.step({ step: 'encrypt', session, key, ...input(plaintext, zeros) })
  const second = await module.step({ step: 'encrypt', session, key, ...input(plaintext, zeros) })
  t.equal(first.output.length, 48)
  t.notOk(first.iv.equals(zeros))
  t.notOk(first.iv.equals(second.iv))
  const sealed = input(first.output, first.iv)
  const { output } = await module.step({ step: 'decrypt', session, key, ...sealed })
  t.ok(output.equals(plaintext))
})

void t.test("with CloudHSM's own mechanism: the IV precedes the ciphertext", async (t) => {
  const { control, module, slot, session, key } = await openWithFaults(t)
  const plaintext = randomBytes(32)
  const none = input(plaintext, Buffer.alloc(0), { mechanism: CLOUDHSM_AES_GCM })
  const encrypt = { step: 'encrypt', session, key, ...none } as const
  t.notOk((await module.step({ step: 'mechanisms', slot })).includes(CLOUDHSM_AES_GCM))
  t.equal(await module.rvOf(encrypt), MECHANISM_INVALID)
  control.pretend('cloudhsm')
  t.ok((await module.step({ step: 'mechanisms', slot })).includes(CLOUDHSM_AES_GCM))
  const own = { ...encrypt, iv: randomBytes(12) }
  t.equal(await module.rvOf(own), MECHANISM_PARAM_INVALID)
  const { output } = await module.step(encrypt)
  t.equal(output.length, 12 + 32 + 16)
  const decrypt = { ...encrypt, step: 'decrypt', data: output } as const
  t.ok((await module.step(decrypt)).output.equals(plaintext))
  const plain = input(output.subarray(12), output.subarray(0, 12))
  const { output: same } = await module.step({ step: 'decrypt', session, key, ...plain })
  t.ok(same.equals(plaintext), 'it is AES-GCM')
})
