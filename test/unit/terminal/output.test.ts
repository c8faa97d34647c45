/** Tests tables of the command line. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { toTable } from '../../../src/terminal/output.ts'

void t.test('columns are as wide as their widest cell, and nothing is cut off', (t) => {
  t.equal(toTable(['A', 'BC'], [['1234', '5']]), 'A     BC\n1234  5')
  t.end()
})

void t.test('one cell of great length does not make every line as long', (t) => {
  const long = 'x'.repeat(2048)
  const [heading, short, wide] = toTable(
    ['ARN', 'USES'],
    [
      ['arn:1', '2'],
      [long, '3'],
    ],
  ).split('\n')
  t.equal(heading, `ARN${' '.repeat(119)}USES`)
  t.equal(short, `arn:1${' '.repeat(117)}2`)
  t.equal(wide, `${long}  3`)
  t.end()
})
