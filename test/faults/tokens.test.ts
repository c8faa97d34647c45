/** Tests that the test tokens are real modules with real keys. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import {
  createNss,
  createSoftHsm,
  createTokenKeys,
  openToken,
  throughProxy,
  throughServer,
  type TestToken,
} from '../support/pkcs11/tokens.ts'

const CKM_AES_GCM = 0x1087
/** CKR_KEY_FUNCTION_NOT_PERMITTED, or CKR_KEY_TYPE_INCONSISTENT, which NSS returns instead. */
const NOT_PERMITTED: readonly number[] = [0x68, 0x63]

const WITH_GCM: readonly [string, (t: Test) => Promise<TestToken>][] = [
  ['SoftHSM2', (t) => createSoftHsm(t)],
  ['NSS softokn', createNss],
  ['SoftHSM2 through p11-kit-proxy', async (t) => throughProxy(await createSoftHsm(t))],
]

for (const [name, create] of WITH_GCM) {
  void t.test(`${name} has AES-GCM, and a key created by another program`, async (t) => {
    const token = await create(t)
    await createTokenKeys(t, token, [{ label: 'first' }, { label: 'second' }])
    const { module, slot, session } = await openToken(t, token)
    t.ok((await module.step({ step: 'mechanisms', slot })).includes(CKM_AES_GCM))
    const [key = -1, ...others] = await module.step({ step: 'find', session, label: 'second' })
    t.same(others, [])
    const [data, iv, aad] = [randomBytes(32), randomBytes(12), randomBytes(20)]
    const sealed = await module.step({ step: 'encrypt', session, key, data, iv, aad })
    const given = { data: sealed.output, iv, aad }
    const { output } = await module.step({ step: 'decrypt', session, key, ...given })
    t.ok(output.equals(data))
  })

  void t.test(`${name} itself enforces CKA_ENCRYPT and CKA_DECRYPT`, async (t) => {
    const token = await create(t)
    await createTokenKeys(t, token, [
      { label: 'encrypts', canDecrypt: false },
      { label: 'decrypts', canEncrypt: false },
    ])
    const { module, session } = await openToken(t, token)
    const given = { data: randomBytes(32), iv: randomBytes(12), aad: randomBytes(20) }
    const keyOf = async (label: string) =>
      (await module.step({ step: 'find', session, label }))[0] ?? -1
    const [encrypts, decrypts] = [await keyOf('encrypts'), await keyOf('decrypts')]
    await module.step({ step: 'encrypt', session, key: encrypts, ...given })
    const refused = { session, ...given }
    for (const step of [
      { step: 'decrypt', key: encrypts, ...refused },
      { step: 'encrypt', key: decrypts, ...refused },
    ] as const)
      t.ok(NOT_PERMITTED.includes(await module.rvOf(step)), step.step)
  })
}

void t.test('one SoftHSM2 has a token for each label', async (t) => {
  const token = await createSoftHsm(t, ['one', 'two'])
  await createTokenKeys(t, token, [{ label: 'key' }], 'two')
  for (const [label, keys] of [
    ['one', 0],
    ['two', 1],
  ] as const) {
    const { module, session } = await openToken(t, token, label)
    t.equal((await module.step({ step: 'find', session, label: 'key' })).length, keys, label)
  }
})

void t.test('SoftHSM2 through p11-kit server has keys and no AES-GCM', async (t) => {
  const token = await throughServer(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'key' }])
  const { module, slot, session } = await openToken(t, token)
  t.notOk((await module.step({ step: 'mechanisms', slot })).includes(CKM_AES_GCM))
  t.equal((await module.step({ step: 'find', session, label: 'key' })).length, 1)
})
