/**
 * Runs Project Wycheproof against the software backend's cipher. `seal` chooses its own IV, so node:crypto decrypts its
 * output with the case's key.
 */
// SPDX-License-Identifier: Apache-2.0
import { createDecipheriv } from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import { importKey } from '../../../src/keys/software/gcm.ts'
import { formsOf } from '../../support/leaks.ts'
import { read } from '../../support/repository.ts'
import { loadGcmCases, parseGcmCases } from '../../support/wycheproof.ts'

const CASES = loadGcmCases()

void t.test('the loader refuses what it does not understand', (t) => {
  const text = read('test/vectors/aes-gcm/aes_gcm_test.json')
  const parse = (edit: (file: { testGroups: { tests: object[] }[] } & object) => void) => {
    const file = JSON.parse(text) as { testGroups: { tests: object[] }[] }
    edit(file)
    return () => parseGcmCases(JSON.stringify(file))
  }
  t.equal(parse(() => undefined)().length, CASES.length)
  t.throws(
    parse((file) => Object.assign(file, { more: 1 })),
    /unknown form/,
  )
  t.throws(
    parse(({ testGroups }) => Object.assign(testGroups[0] ?? {}, { more: 1 })),
    /unknown form/,
  )
  t.throws(
    parse(({ testGroups }) => Object.assign(testGroups[0]?.tests[0] ?? {}, { more: 1 })),
    /unknown form/,
  )
  t.throws(
    parse(({ testGroups }) => Object.assign(testGroups[0]?.tests[0] ?? {}, { result: 'fine' })),
    /unknown result/,
  )
  t.throws(
    parse(({ testGroups }) => testGroups.pop()),
    /cases are missing/,
  )
  t.end()
})

for (const one of CASES) {
  const { iv, ciphertext, tag, aad, plaintext } = one
  void t.test(one.label, async (t) => {
    const key = await importKey(Buffer.from(one.key))
    const open = () => key.unseal({ iv, ciphertext, tag, aad })
    if (!one.isValid) {
      t.throws(open, { name: 'BackendError', code: 'INTEGRITY_FAILURE' })
      return
    }
    t.ok(open().equals(plaintext))
    const sealed = key.seal({ plaintext, aad })
    const decipher = createDecipheriv('aes-256-gcm', one.key, sealed.iv)
    decipher.setAAD(aad).setAuthTag(sealed.tag)
    t.ok(Buffer.concat([decipher.update(sealed.ciphertext), decipher.final()]).equals(plaintext))
  })
}

void t.test('importKey wipes its input, also when it refuses it', async (t) => {
  const material = Buffer.alloc(32, 7)
  await importKey(material)
  t.ok(material.equals(Buffer.alloc(32)))
  const short = Buffer.alloc(31, 7)
  await t.rejects(importKey(short))
  t.ok(short.equals(Buffer.alloc(31)))
})

void t.test('an imported key cannot be exported', async (t) => {
  const material = Buffer.alloc(32, 7)
  const forms = formsOf(Buffer.from(material))
  const key = await importKey(material)
  t.same(Object.getOwnPropertyNames(key), [])
  const shown = inspect(key, { showHidden: true, depth: null }) + JSON.stringify(key)
  for (const form of forms) t.notOk(shown.replaceAll(' ', '').includes(form))
})
