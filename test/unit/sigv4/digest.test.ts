/** Tests HMAC with signing keys against published test cases, and signature comparison. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { SigningKey, hmacSha256, sha256Hex } from '../../../src/sigv4/signing-key.ts'

const reference = (key: Uint8Array, data: string) =>
  createHmac('sha256', key).update(data, 'utf8').digest('hex')

void t.test('SHA-256 of nothing, of "abc", and of bytes', (t) => {
  t.equal(sha256Hex(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  t.equal(sha256Hex('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  const bytes = Buffer.from([0, 0xff, 0xc3, 0x28])
  t.equal(sha256Hex(bytes), createHash('sha256').update(bytes).digest('hex'))
  t.end()
})

void t.test("RFC 4231's cases with text as message", (t) => {
  const CASES = [
    {
      key: Buffer.alloc(20, 0x0b),
      data: 'Hi There',
      mac: 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    },
    {
      key: Buffer.from('Jefe'),
      data: 'what do ya want for nothing?',
      mac: '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    },
    {
      key: Buffer.alloc(131, 0xaa),
      data: 'Test Using Larger Than Block-Size Key - Hash Key First',
      mac: '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    },
    {
      key: Buffer.alloc(131, 0xaa),
      data: 'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
      mac: '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
    },
  ]
  for (const { key, data, mac } of CASES) {
    t.equal(new SigningKey(key).sign(data), mac, data)
    t.equal(hmacSha256(key, data).toString('hex'), mac, data)
  }
  t.end()
})

void t.test('keys of every length around the block, and messages of any text', (t) => {
  for (const length of [0, 1, 31, 32, 63, 64, 65, 127, 128, 129, 300]) {
    const key = Buffer.alloc(length, length)
    t.equal(new SigningKey(key).sign('é€😀'), reference(key, 'é€😀'))
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: 'binary' }), (key, text) => {
      const ours = new SigningKey(Buffer.from(key)).sign(text)
      return ours === reference(key, text)
    }),
  )
  t.end()
})

void t.test('messages signed with one key do not affect each other', (t) => {
  const key = Buffer.from('0123456789abcdef0123456789abcdef')
  const signingKey = new SigningKey(key)
  const texts = ['', 'a', 'a'.repeat(1000), '', 'é', 'a', 'a'.repeat(5000), 'b']
  t.same(
    texts.map((text) => signingKey.sign(text)),
    texts.map((text) => reference(key, text)),
  )
  t.end()
})

void t.test('a key that its owner wipes is kept', (t) => {
  const key = Buffer.alloc(32, 7)
  const signingKey = new SigningKey(key)
  const before = reference(key, 'text')
  key.fill(0)
  t.equal(signingKey.sign('text'), before)
  t.end()
})

void t.test('a signature equals only itself', (t) => {
  const key = new SigningKey(Buffer.from('Jefe'))
  const data = 'what do ya want for nothing?'
  const right = reference(Buffer.from('Jefe'), data)
  t.ok(key.verify(data, right))
  t.notOk(key.verify(`${data}?`, right), 'of another text')
  for (let i = 0; i < right.length; i++) {
    const other = right[i] === '0' ? '1' : '0'
    t.notOk(key.verify(data, right.slice(0, i) + other + right.slice(i + 1)), `digit ${String(i)}`)
  }
  for (const hex of [
    '',
    '5b',
    right.slice(0, 62),
    right.slice(0, 63),
    `${right.slice(0, 62)}zz`,
    `${right}00`,
  ]) {
    t.ok(key.verify(data, right))
    t.notOk(key.verify(data, hex), JSON.stringify(hex))
  }
  t.end()
})
