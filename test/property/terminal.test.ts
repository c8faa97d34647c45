/** Tests that untrusted text cannot control the terminal, regardless of how a command prints it. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { toRemark } from '../../src/core/remark.ts'
import { toNotification, describe } from '../../src/observability/webhooks/event.ts'
import { createOutput, type Output, type Streams } from '../../src/terminal/output.ts'

/** Control characters, bidirectional overrides and isolates, zero-width characters, separators and tags. */
const HOSTILE = [
  ...[
    '\u0000',
    '\u0007',
    '\b',
    '\t',
    '\r',
    '\u001b[2J',
    '\u001b]0;x\u0007',
    '\u001b[31m',
    '\u007f',
  ],
  ...['\u0085', '\u009b31m', '\u009d', '\u00ad', '\u061c', '\u200b', '\u200d', '\u200e', '\u200f'],
  ...['\u2028', '\u2029', '\u202a', '\u202e', '\u2060', '\u2066', '\u2069', '\ufeff', '\u{e0041}'],
]
const text = fc
  .array(fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary', maxLength: 5 })), {
    maxLength: 30,
  })
  .map((parts) => parts.join(''))

const FORBIDDEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

const streams: readonly Omit<Streams, 'stdout' | 'stderr'>[] = [
  {},
  { columns: 40, stderrColumns: 40 },
]

/** Returns what a command prints, in every output format. */
function printed(print: (output: Output) => void): readonly string[] {
  return streams.flatMap((form) =>
    [false, true].flatMap((json) =>
      [false, true].map((wide) => {
        let all = ''
        const add = (part: string) => (all += part)
        print(createOutput({ ...form, stdout: add, stderr: add }, json, wide))
        return all
      }),
    ),
  )
}

const PRINTS: Readonly<Record<string, (output: Output, text: string) => void>> = {
  result: (output, one) => {
    output.result(one, { one })
  },
  'folded result': (output, one) => {
    output.result(output.fold(one), one)
  },
  table: (output, one) => {
    output.result(output.table(['A', 'B'], [[one, one]]), one)
  },
  line: (output, one) => {
    output.line(one)
  },
  note: (output, one) => {
    output.note(one)
  },
  error: (output, one) => {
    const hint = { hint: one, faults: [{ path: one, message: one }], file: one }
    output.error(Object.assign(new Error(one), hint), { withStack: true })
    output.error(Object.assign(new Error(one), { hint: one }))
  },
}

for (const [name, print] of Object.entries(PRINTS))
  void t.test(`${name}: no control or format character reaches the terminal`, (t) => {
    fc.assert(
      fc.property(text, (one) =>
        printed((output) => {
          print(output, one)
        }).every((all) => !FORBIDDEN.test(all)),
      ),
    )
    t.end()
  })

void t.test('a terminal with colors gets only those of our own', (t) => {
  fc.assert(
    fc.property(text, (one) => {
      let all = ''
      const add = (part: string) => (all += part)
      const output = createOutput({ stdout: add, stderr: add, isTerminal: true }, false)
      for (const print of Object.values(PRINTS)) print(output, one)
      output.document(one, one)
      return !FORBIDDEN.test(all.replaceAll(/\u001b\[(?:0|1|2|31|32|1;31|1;32)m/g, ''))
    }),
  )
  t.end()
})

void t.test('a document in JSON or YAML keeps its values', (t) => {
  fc.assert(
    fc.property(text, (one) => {
      let all = ''
      const sinks = { stdout: (part: string) => (all += part), stderr: () => undefined }
      createOutput(sinks, true).result('', { one })
      if ((JSON.parse(all) as { one: string }).one !== one) return false
      all = ''
      const toDocument = (value: unknown) => stringify(value, { defaultStringType: 'QUOTE_DOUBLE' })
      createOutput(sinks, true, true, toDocument).result('', { one })
      return (parse(all) as { one: string }).one === one
    }),
  )
  t.end()
})

void t.test('a document is unchanged in a pipe', (t) => {
  let all = ''
  const sinks = { stdout: (part: string) => (all += part), stderr: () => undefined }
  createOutput(sinks, false).document('// a\u200db\r\npermit;\r\n', {})
  t.equal(all, '// a\u200db\r\npermit;\r\n')
  t.end()
})

void t.test('a remark and the text of a notification are one printable line', (t) => {
  fc.assert(
    fc.property(text, (one) => {
      const event = { seq: 1, at: 0, epoch: 1, kind: 'kill', operator: one }
      const detail = { scope: one, reason: one, host: one }
      const about = { storeId: 's', drillKey: '' }
      const notification = toNotification({ ...event, detail }, about)
      const told = notification === undefined ? '' : describe(notification)
      return [toRemark(one), told].every((line) => !/[\t\n]/.test(line) && !FORBIDDEN.test(line))
    }),
  )
  t.equal(toRemark('pay\u200broll \u202eabc\u202c\n\tend'), 'payroll abc end')
  t.end()
})
