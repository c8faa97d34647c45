/**
 * Checks that docs/pkcs11.md lists every CKR code in our table, and that the table covers every code in the standard.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CKR, toCkrRow } from '../../src/keys/pkcs11/wire/errors.ts'
import { ROOT, read, section, tableRows } from '../support/repository.ts'

void t.test('docs/pkcs11.md contains the table of CKR codes', (t) => {
  const [, ...rows] = tableRows(section(read('docs/pkcs11.md'), '## Every CKR code'))
  t.same(
    rows.map((cells) => cells.map((cell) => cell.replaceAll('`', ''))),
    [...CKR.values()].map(({ name, encrypt, decrypt, recovery, why }) => [
      ...[name, encrypt, decrypt, recovery, why],
    ]),
  )
  t.end()
})

void t.test('the table has every PKCS#11 2.40 code, with its number', (t) => {
  const header = readFileSync(join(ROOT, 'node_modules/pkcs11js/includes/pkcs11/pkcs11t.h'), 'utf8')
  const defined = [...header.matchAll(/#define (CKR_\w+)\s+0x([0-9A-Fa-f]+)/g)].map(
    ([, name = '', code = '']) => [name, parseInt(code, 16)] as const,
  )
  t.ok(defined.length > 80)
  const known = new Map([...CKR.values()].map(({ name, code }) => [name, code]))
  t.same(
    defined.filter(([name, code]) => name !== 'CKR_OK' && known.get(name) !== code),
    [],
  )
  t.end()
})

void t.test(
  "a vendor's own code is treated as CKR_VENDOR_DEFINED, and named by its number",
  (t) => {
    t.match(toCkrRow(0x8000_0123), {
      name: 'CKR_0x80000123',
      recovery: 'probe',
      decrypt: 'INTEGRITY_FAILURE',
    })
    t.match(toCkrRow(0x777), { name: 'CKR_0x777', recovery: 'probe' })
    t.match(toCkrRow(0xa0), { name: 'CKR_PIN_INCORRECT', recovery: 'stop' })
    t.end()
  },
)
