/** Tests the CLI's output: tables, progress and times. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { describeTime } from '../../../src/terminal/flags/time.ts'
import { foldText, toTable } from '../../../src/terminal/layout.ts'
import { createOutput } from '../../../src/terminal/output.ts'

void t.test('columns are as wide as their widest cell, and nothing is cut off', (t) => {
  t.equal(toTable(['A', 'BC'], [['1234', '5']]), 'A     BC\n1234  5')
  t.end()
})

void t.test('one long cell does not make every line as long', (t) => {
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

void t.test('a table too wide to be shortened becomes blocks that show everything', (t) => {
  const at = '2026-11-29T21:04:05.678Z'
  const names = ['A', 'B', 'C', 'D', 'E'].map((name) => `HEADING ${name}`)
  const long = 'x'.repeat(60)
  t.equal(
    toTable(['AT', 'ID'], [[at, long]], { columns: 40 }),
    `AT                 ID\n2026-11-29T21:04Z  xxxxxxxxxx…${'x'.repeat(10)}`,
  )
  t.equal(
    toTable(names, [[at, long, '', '7', 'no']], { columns: 40 }),
    [
      `HEADING A  ${at}`,
      `HEADING B  ${'x'.repeat(29)}`,
      `           ${'x'.repeat(29)}`,
      '           xx',
      'HEADING C  ',
      'HEADING D  7',
      'HEADING E  no',
    ].join('\n'),
  )
  t.end()
})

void t.test('numbers are aligned to the right, and control characters do not pass', (t) => {
  const right = { right: [1] }
  t.equal(
    toTable(
      ['A', 'N'],
      [
        ['x\u001b[31m', '5'],
        ['y', '10'],
      ],
      right,
    ),
    'A        N\nx\uFFFD[31m   5\ny       10',
  )
  t.end()
})

void t.test('a line breaks at spaces, else at commas, and is indented below its label', (t) => {
  const fold = (text: string) => foldText(text, 40)
  t.equal(fold('a short line\n  another'), 'a short line\n  another')
  t.equal(
    fold('  fail  the certificate is not signed by an authority that KMS trusts'),
    '  fail  the certificate is not signed by\n        an authority that KMS trusts',
  )
  t.equal(
    fold('no policies: every caller may use all of the keys'),
    'no policies: every caller may use all of\n  the keys',
  )
  t.equal(
    fold(`{"reason":"x","more":"${'y'.repeat(28)}"}`),
    `{"reason":"x",\n  "more":"${'y'.repeat(28)}"}`,
  )
  t.end()
})

void t.test('progress is for terminals only, and the next output erases it', (t) => {
  for (const [stderrColumns, expected] of [
    [undefined, ''],
    [40, /^\rlatchkey: 1000 rows\r {19}\r$/],
    [16, /^\rlatchkey: 1000 \r {15}\r$/],
  ] as const) {
    let [stdout, stderr] = ['', '']
    const output = createOutput(
      {
        stdout: (text) => (stdout += text),
        stderr: (text) => (stderr += text),
        ...(stderrColumns === undefined ? {} : { stderrColumns }),
      },
      false,
    )
    output.progress('1000 rows')
    output.result('done', {})
    output.endProgress()
    t.equal(stdout, 'done\n')
    t.match(stderr, expected)
    if (stderrColumns === undefined) t.equal(stderr, '')
  }
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
