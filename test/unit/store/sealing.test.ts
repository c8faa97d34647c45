/**
 * Tests that a sealed secret can only be decrypted in its own row and column, and that different rows have different
 * MACs.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { SqlValue } from '../../../src/store/database.ts'
import { encodeFields } from '../../../src/store/encoding.ts'
import { createSealing } from '../../../src/store/sealing.ts'

const TAMPERED = { name: 'StorageError', code: 'STORE_TAMPERED' }
const KEY = randomBytes(32)
const sealing = createSealing(Buffer.from(KEY))
const SECRET = Buffer.from('a secret of some length')
const CONTEXT = ['key material', 'demo', 'key', 1] as const

void t.test('what was wrapped unwraps with its context, by the same store key', (t) => {
  for (const secret of [SECRET, Buffer.alloc(0), randomBytes(4096)]) {
    const wrapped = sealing.wrap(CONTEXT, secret)
    t.ok(sealing.unwrap(CONTEXT, wrapped).equals(secret))
    t.ok(createSealing(Buffer.from(KEY)).unwrap(CONTEXT, wrapped).equals(secret))
    t.equal(Buffer.from(wrapped, 'base64').length, 12 + secret.length + 16)
  }
  t.notMatch(Buffer.from(sealing.wrap(CONTEXT, SECRET), 'base64').toString('latin1'), /secret/)
  t.end()
})

void t.test('it does not unwrap in another place, nor with another key', (t) => {
  const wrapped = sealing.wrap(CONTEXT, SECRET)
  const others: readonly (readonly SqlValue[])[] = [
    ['key material', 'demo', 'key', 2],
    ['key material', 'demo', 'key', '1'],
    ['key material', 'demo', 'ke', 1],
    ['key material', 'other', 'key', 1],
    ['credential', 'demo', 'key', 1],
    ['key material', 'demok', 'ey', 1],
    ['key material', 'demo', 'key'],
    [],
  ]
  for (const other of others) t.throws(() => sealing.unwrap(other, wrapped), TAMPERED)
  t.throws(() => createSealing(randomBytes(32)).unwrap(CONTEXT, wrapped), TAMPERED)
  t.end()
})

void t.test('any changed byte, and any other length, is noticed', (t) => {
  const bytes = Buffer.from(sealing.wrap(CONTEXT, SECRET), 'base64')
  for (const at of bytes.keys()) {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    t.throws(() => sealing.unwrap(CONTEXT, changed.toString('base64')), TAMPERED)
  }
  for (const changed of [
    Buffer.alloc(0),
    bytes.subarray(1),
    bytes.subarray(0, 27),
    bytes.subarray(0, -1),
    Buffer.concat([bytes, Buffer.alloc(1)]),
  ]) {
    t.throws(() => sealing.unwrap(CONTEXT, changed.toString('base64')), TAMPERED)
  }
  t.end()
})

void t.test('wrapping a secret twice uses two IVs', (t) => {
  const ivs = Array.from({ length: 1000 }, () => sealing.wrap(CONTEXT, SECRET).slice(0, 16))
  t.equal(new Set(ivs).size, ivs.length)
  t.end()
})

void t.test('different lists of fields have different encodings', (t) => {
  const lists: readonly (readonly SqlValue[])[] = [
    [],
    [''],
    ['', ''],
    [null],
    ['a', 'b'],
    ['ab', ''],
    ['', 'ab'],
    ['ab'],
    ['b', 'a'],
    [1],
    ['1'],
    [Buffer.from('1')],
    [-1],
    [0],
    ['s\0\0\0\u0001a'],
    ['null'],
  ]
  const encoded = lists.map((list) => encodeFields(list).toString('hex'))
  t.equal(new Set(encoded).size, lists.length)
  const codes = lists.map((list) => sealing.authenticate(list))
  t.equal(new Set(codes).size, lists.length)
  t.end()
})

void t.test('each field is encoded as its type, its length and its bytes', (t) => {
  const encode = (fields: readonly SqlValue[]) =>
    Buffer.concat(
      fields.map((field) => {
        const bytes =
          field instanceof Uint8Array ? field : Buffer.from(field === null ? '' : String(field))
        const header = Buffer.alloc(5)
        const type = field instanceof Uint8Array ? 'b' : typeof field === 'number' ? 'i' : 's'
        header.write(field === null ? 'n' : type, 0)
        header.writeUInt32BE(bytes.length, 1)
        return Buffer.concat([header, bytes])
      }),
    )
  for (const fields of [
    [],
    ['facts', '', null, -1, 1.5, 2 ** 52],
    ['a'.repeat(127), 'b'.repeat(128)],
    ['a'.repeat(127), 1],
    ['x'.repeat(70_000), 1],
    ['é', '\u{1F511}', 'a'],
    ['é'.repeat(127)],
    ['\0\x7F', '\x80'],
    [Buffer.from([0, 255]), 'a'],
  ] as const) {
    t.ok(encodeFields(fields).equals(encode(fields)), JSON.stringify(fields).slice(0, 40))
  }
  t.end()
})

void t.test('a code is the same for the same fields and key, and for no other key', (t) => {
  const fields = ['external_keys', 'demo', 1, null]
  t.equal(sealing.authenticate(fields), createSealing(Buffer.from(KEY)).authenticate(fields))
  t.not(sealing.authenticate(fields), createSealing(randomBytes(32)).authenticate(fields))
  t.equal(Buffer.from(sealing.authenticate(fields), 'base64').length, 32)
  t.end()
})
