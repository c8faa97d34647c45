/** Tests the identifier parsers. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseAccessKeyId, parseExternalKeyId, parseKeyStoreName } from '../../../src/core/ids.ts'

void t.test('[API-7] an external key id has 1 to 128 characters of the allowed set', (t) => {
  for (const text of ['a', 'A-b_c.9', '...', 'a..b', 'x'.repeat(100), 'x'.repeat(128)]) {
    t.equal(parseExternalKeyId(text), text, `${text.slice(0, 10)} (${String(text.length)})`)
  }
  for (const text of ['', 'x'.repeat(129), '.', '..', 'a/b', 'a b', 'ä', 'a%41', 'a\n', 'a:b']) {
    t.equal(parseExternalKeyId(text), undefined, JSON.stringify(text.slice(0, 10)))
  }
  t.end()
})

void t.test('[AUTH-8] an access key id has 20 to 30 characters of A-Z and 2-7', (t) => {
  t.ok(parseAccessKeyId('A'.repeat(20)))
  t.ok(parseAccessKeyId('Z7'.repeat(15)))
  for (const text of ['A'.repeat(19), 'A'.repeat(31), `${'A'.repeat(19)}1`, 'a'.repeat(20), '']) {
    t.equal(parseAccessKeyId(text), undefined, JSON.stringify(text))
  }
  t.end()
})

void t.test('a key store name is short and lower case', (t) => {
  t.ok(parseKeyStoreName('demo-2'))
  for (const text of ['', '-a', 'A', 'a_b', 'a'.repeat(65)]) {
    t.equal(parseKeyStoreName(text), undefined, JSON.stringify(text))
  }
  t.end()
})
