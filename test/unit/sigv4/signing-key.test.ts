/** Tests signing keys: AWS's published derivation examples, and the cache. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../../src/core/secret.ts'
import { deriveSigningKey, SigningKeyCache } from '../../../src/sigv4/signing-key.ts'
import { makeCredential } from '../../support/credential.ts'

/** Examples from the AWS General Reference, "Examples of how to derive a signing key". */
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
const EXAMPLES = [
  {
    scope: { date: '20120215', region: 'us-east-1', service: 'iam' },
    key: 'f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d',
  },
  {
    scope: { date: '20150830', region: 'us-east-1', service: 'iam' },
    key: 'c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9',
  },
]

/** Returns a MAC under the key. A signing key cannot be read, so tests compare MACs. */
const macUnder = (key: string, text: string) =>
  createHmac('sha256', Buffer.from(key, 'hex')).update(text).digest('hex')

void t.test("AWS's published examples", (t) => {
  for (const { scope, key } of EXAMPLES) {
    const derived = deriveSigningKey(new Secret(SECRET), scope)
    t.equal(derived.sign('any text'), macUnder(key, 'any text'))
  }
  const text = [
    'AWS4-HMAC-SHA256',
    '20150830T123600Z',
    '20150830/us-east-1/iam/aws4_request',
    'f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59',
  ].join('\n')
  t.equal(
    deriveSigningKey(new Secret(SECRET), {
      date: '20150830',
      region: 'us-east-1',
      service: 'iam',
    }).sign(text),
    '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
    'the signature of the same example',
  )
  t.end()
})

void t.test(
  'the cache returns the same key for the same scope, and a different one if any part of the scope differs',
  (t) => {
    const cache = new SigningKeyCache()
    const owner = makeCredential({ secret: SECRET })
    const scope = { date: '20260115', region: 'eu-west-1', service: 'kms-xks-proxy' }
    const first = cache.get(owner, scope)
    t.equal(cache.get(owner, { ...scope }), first)
    const expected = deriveSigningKey(new Secret(SECRET), scope).sign('x')
    t.same(first.sign('x'), expected)
    for (const other of [
      { ...scope, date: '20260116' },
      { ...scope, region: 'eu-west-2' },
      { ...scope, service: 'kms' },
    ]) {
      const key = cache.get(owner, other)
      t.not(key, first)
      t.same(key.sign('x'), deriveSigningKey(new Secret(SECRET), other).sign('x'))
    }
    t.equal(cache.get(owner, scope), first, 'and the first is still there')
    t.end()
  },
)

void t.test('a key belongs to the credential itself, not to its id', (t) => {
  const cache = new SigningKeyCache()
  const scope = { date: '20260115', region: 'eu-west-1', service: 'kms-xks-proxy' }
  const before = cache.get(makeCredential({ secret: 'a'.repeat(43) }), scope).sign('x')
  const after = cache.get(makeCredential({ secret: 'b'.repeat(43) }), scope).sign('x')
  t.notSame(after, before, 'the same id with another secret')
  t.same(after, deriveSigningKey(new Secret('b'.repeat(43)), scope).sign('x'))
  t.end()
})

void t.test('more scopes than are kept still give the right keys', (t) => {
  const cache = new SigningKeyCache()
  const owner = makeCredential({ secret: SECRET })
  for (let i = 0; i < 200; i++) {
    const scope = { date: '20260115', region: `r-${String(i % 150)}`, service: 'kms-xks-proxy' }
    t.same(cache.get(owner, scope).sign('x'), deriveSigningKey(new Secret(SECRET), scope).sign('x'))
  }
  t.end()
})
