/** Tests suggestions for misspelled words. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { suggest } from '../../../src/core/suggest.ts'

const KNOWN = ['listener', 'keyStores', 'store', 'limits', 'sigv4', 'health', 'logging']

void t.test('a name a few edits away is found, whatever its case', (t) => {
  for (const [asked, meant] of [
    ['lisener', 'listener'],
    ['listenner', 'listener'],
    ['KEYSTORES', 'keyStores'],
    ['keystore', 'keyStores'],
    ['helth', 'health'],
    ['sgiv4', 'sigv4'],
    ['limit', 'limits'],
  ] as const)
    t.equal(suggest(asked, KNOWN), meant, asked)
  t.end()
})

void t.test('a name that is too far from all of them has no suggestion', (t) => {
  for (const asked of ['database', 'x', 'metrics', 'loooooogging', ''])
    t.equal(suggest(asked, KNOWN), undefined, asked)
  t.equal(suggest('listener', []), undefined)
  t.end()
})

void t.test('a short name does not suggest an unrelated one', (t) => {
  t.equal(suggest('foo', ['init']), undefined)
  t.equal(suggest('int', ['init']), 'init')
  t.end()
})
