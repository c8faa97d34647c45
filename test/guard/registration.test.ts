/** Checks that docs/register.md and the program explain KMS's error codes in the same words. */
// SPDX-License-Identifier: Apache-2.0
import { ConnectionErrorCodeType } from '@aws-sdk/client-kms'
import t from 'tap'
import { CONNECTION_ERRORS, EXCEPTION_HINTS } from '../../src/tools/register/explanations.ts'
import { read, section, tableRows } from '../support/repository.ts'

const DOCUMENT = read('docs/register.md')

function rowsOf(heading: string): readonly (readonly string[])[] {
  const [, ...rows] = tableRows(section(DOCUMENT, heading))
  return rows.map((cells) => cells.map((cell) => /^`([^`]+)`$/.exec(cell)?.[1] ?? cell))
}

void t.test('every connection error code in the SDK is explained', (t) => {
  t.same(Object.keys(CONNECTION_ERRORS).sort(), Object.keys(ConnectionErrorCodeType).sort())
  const own = Object.entries(CONNECTION_ERRORS).filter(
    ([, { meaning }]) => !meaning.startsWith('this code applies to CloudHSM'),
  )
  t.same(
    rowsOf('## When KMS cannot connect'),
    own.map(([code, { meaning, hint: cure }]) => [code, meaning, cure]),
  )
  t.equal(own.length, 11)
  t.end()
})

void t.test('every exception with a remedy is in the document', (t) => {
  t.same(
    rowsOf('## When KMS refuses').map(([name]) => name),
    Object.keys(EXCEPTION_HINTS),
  )
  t.end()
})
