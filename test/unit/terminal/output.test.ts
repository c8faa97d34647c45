/** Tests tables of the command line. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { describeTime } from '../../../src/terminal/flags/time.ts'
import { createOutput, toTable } from '../../../src/terminal/output.ts'

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

void t.test('a table fits the width of a terminal, unless it is to be wide', (t) => {
  const arn =
    'arn:aws:sts::111122223333:assumed-role/a-very-long-name-of-a-role/session-of-an-instance'
  const rows = [
    ['demo/key', arn, '7'],
    ['demo/key', 'AWS Internal', '1'],
  ]
  const streams = {
    stdout: () => undefined,
    stderr: () => undefined,
    isTerminal: true,
    columns: 60,
  }
  const lines = createOutput(streams, false).table(['KEY', 'PRINCIPAL', 'N'], rows).split('\n')
  t.ok(lines.every((line) => line.length <= 60))
  t.match(lines[1], /^demo\/key {2}arn:aws:sts::.*….*-of-an-instance {2}7$/)
  t.match(createOutput(streams, false, true).table(['KEY', 'PRINCIPAL', 'N'], rows), arn)
  const narrow = createOutput({ ...streams, columns: 5 }, false).table(['KEY'], [['1234567890']])
  t.equal(narrow, 'KEY\n123…7890', 'no column is narrower than eight')
  t.end()
})

void t.test('a moment is shown with its zone and how long ago it is', (t) => {
  const at = Date.UTC(2026, 10, 29, 21, 4)
  for (const [later, ago] of [
    [10_000, 'less than a minute ago'],
    [60_000, '1 minute ago'],
    [7_300_000, '2 hours ago'],
    [86_400_000 * 3, '3 days ago'],
  ] as const) {
    t.equal(describeTime(at, at + later), `2026-11-29 21:04 UTC (${ago})`)
  }
  t.end()
})
