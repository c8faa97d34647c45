/** Tests the subset of RFC 8785 that signed statements need, and signatures over such statements. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  type Json,
  createSigner,
  toCanonicalJson,
  verifySigned,
} from '../../../src/core/signature.ts'

void t.test('members are sorted, and nothing is between them', (t) => {
  // The example in RFC 8785, section 3.2.3, without its numbers, which JavaScript itself formats canonically.
  const names = ['\u20ac', '\r', '\ufb33', '1', '\ud83d\ude00', '\u0080', '\u00f6']
  const text = toCanonicalJson(Object.fromEntries(names.map((name) => [name, 0])))
  t.equal(text, '{"\\r":0,"1":0,"\u0080":0,"\u00f6":0,"\u20ac":0,"\ud83d\ude00":0,"\ufb33":0}')
  t.equal(
    toCanonicalJson({ b: [1, 'x', null, true], a: {}, c: undefined }),
    '{"a":{},"b":[1,"x",null,true]}',
  )
  t.throws(() => toCanonicalJson(NaN), TypeError)
  t.end()
})

void t.test('equal values have one canonical form, whatever the order of their members', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = toCanonicalJson(value)
      const again = toCanonicalJson(JSON.parse(text) as Json)
      return (
        again === text && JSON.stringify(JSON.parse(text)) === JSON.stringify(JSON.parse(again))
      )
    }),
  )
  t.end()
})

void t.test('RFC 8032, 7.1, test 1: the public key of a seed', (t) => {
  const seed = Buffer.from(
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'hex',
  )
  const publicKey = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
  t.equal(createSigner(seed).publicKey, Buffer.from(publicKey, 'hex').toString('base64'))
  t.end()
})

void t.test('a signature verifies only for its statement and its key', (t) => {
  const signer = createSigner(randomBytes(32))
  const signed = signer.sign({ id: 'a', n: 1, nested: { z: [1, 2], a: null } })
  t.ok(verifySigned(signed, signer.publicKey))
  const reordered = { nested: { a: null, z: [1, 2] }, n: 1, id: 'a' }
  t.ok(
    verifySigned({ ...signed, statement: reordered }, signer.publicKey),
    'the order of members does not matter',
  )
  for (const statement of [
    { ...signed.statement, n: 2 },
    { ...signed.statement, extra: 1 },
    { id: 'a', n: 1 },
  ])
    t.notOk(verifySigned({ ...signed, statement }, signer.publicKey))
  const other = createSigner(randomBytes(32))
  t.notOk(
    verifySigned(signed, other.publicKey),
    'the trusted key decides, not the one in the document',
  )
  t.notOk(verifySigned({ ...signed, publicKey: other.publicKey }, other.publicKey))
  for (const key of ['', 'AAAA', 'not Base64 !']) t.notOk(verifySigned(signed, key), key)
  t.notOk(verifySigned({ ...signed, signature: 'AAAA' }, signer.publicKey))
  t.end()
})
