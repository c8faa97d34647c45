/** Tests what identifies the keys of a worker's share. */
// SPDX-License-Identifier: Apache-2.0
import pkcs11 from 'pkcs11js'
import t from 'tap'
import { HandleNames } from '../../../src/keys/pkcs11/worker/handle-names.ts'
import type { Pkcs11Module } from '../../../src/keys/pkcs11/worker/module.ts'

const SESSION = Buffer.of(0)

interface FakeKey {
  readonly label: string
  readonly type: number
}

function toUlong(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/** Reads all keys of a token as one share. */
function readShare(keys: readonly FakeKey[]) {
  let found: Buffer[] = []
  const cryptoki = {
    C_FindObjectsInit(_session: Buffer, template: { type: number; value: number }[]) {
      const wanted = template.find(({ type }) => type === pkcs11.CKA_KEY_TYPE)?.value
      found = keys.flatMap(({ type }, handle) =>
        wanted === undefined || wanted === type ? [Buffer.of(handle)] : [],
      )
    },
    C_FindObjects: () => found.splice(0),
    C_FindObjectsFinal: () => undefined,
    C_GetAttributeValue(_session: Buffer, handle: Buffer, template: { type: number }[]) {
      const key = keys[handle[0] ?? 0]
      const values = new Map<number, Buffer>([
        [pkcs11.CKA_LABEL, Buffer.from(key?.label ?? '')],
        [pkcs11.CKA_KEY_TYPE, toUlong(key?.type ?? 0)],
        [pkcs11.CKA_VALUE_LEN, toUlong(32)],
      ])
      return template.map(({ type }) => ({ type, value: values.get(type) }))
    },
  }
  const module = { cryptoki, constants: pkcs11 } as unknown as Pkcs11Module
  const options = { module, gcm: {} as never, keysBy: 'label', isReserved: () => false } as const
  const names = new HandleNames(options, { suggest: () => undefined } as never)
  return names.share(SESSION, { part: 0, of: 1 }, () => true)
}

void t.test('keys of other types do not count, even if they look the same', async (t) => {
  const other = { label: '', type: pkcs11.CKK_GENERIC_SECRET }
  const report = readShare([
    { label: 'one', type: pkcs11.CKK_AES },
    other,
    other,
    { label: 'two', type: pkcs11.CKK_AES },
  ])
  t.equal(new Set(report.fingerprints).size, 2)
  t.equal(report.aesKeys, 2)
})

void t.test('without keys of other types, no second search is made', async (t) => {
  const report = readShare([{ label: 'one', type: pkcs11.CKK_AES }])
  t.equal(report.fingerprints.length, 1)
  t.equal(report.aesKeys, undefined)
})
