/** Tests that token labels are UTF-8, and are compared in full but without their padding. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Pkcs11Module } from '../../../src/keys/pkcs11/worker/module.ts'
import { findToken } from '../../../src/keys/pkcs11/worker/token-search.ts'

const version = { major: 1, minor: 0 }

/** Returns a module that reports tokens with these labels, padded as real modules do. */
function moduleWith(...labels: readonly string[]): Pkcs11Module {
  const cryptoki = {
    C_GetSlotList: () => labels.map((_, i) => Buffer.from([i, 0, 0, 0, 0, 0, 0, 0])),
    C_GetTokenInfo: (slot: Buffer) => ({
      ...{ label: labels[slot[0] ?? 0], serialNumber: `00${String(slot[0])}\0\0` },
      ...{ manufacturerID: 'm', model: 'm', firmwareVersion: version, maxSessionCount: 0 },
    }),
  }
  return { cryptoki, constants: {}, parameters: undefined } as unknown as Pkcs11Module
}

void t.test('labels are decoded completely, in UTF-8, without padding', (t) => {
  const module = moduleWith('Zürich HSM      ', 'Zrich HSM', 'Z\u00fcrich', ' led', '日本\0\0\0\0')
  const slotOf = (label: string) => findToken(module, { label }).facts.slot
  t.equal(slotOf('Zürich HSM'), 0)
  t.equal(slotOf('Zürich HSM  '), 0)
  t.equal(slotOf('Zrich HSM'), 1)
  t.equal(slotOf('Zürich'), 2)
  t.equal(slotOf(' led'), 3)
  t.equal(slotOf('日本'), 4)
  for (const other of ['led', 'zürich HSM', 'Zürich HS', 'Zürich HSM x', ''])
    t.throws(() => slotOf(other), { message: /no token has label/ }, other)
  t.equal(findToken(module, { serial: '003' }).facts.slot, 3)
  t.throws(() => findToken(module, { serial: '03' }))
  t.end()
})
