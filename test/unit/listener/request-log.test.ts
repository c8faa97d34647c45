/** The line of a request: what stands in it, in which form. */
// SPDX-License-Identifier: Apache-2.0
import fastJson, { type Schema } from 'fast-json-stringify'
import fc from 'fast-check'
import pino from 'pino'
import t from 'tap'
import type { Log } from '../../../src/listener/log.ts'
import { renderLine } from '../../../src/listener/request-line.ts'
import { createRequestLog, LINE_SCHEMA, toLine } from '../../../src/listener/request-log.ts'
import { STAGES, type RequestRecord } from '../../../src/xks/request-record.ts'

function lineOf(more: Partial<RequestRecord>): Record<string, unknown> {
  const lines: string[] = []
  const log = {
    logger: pino({ level: 'info' }),
    worker: undefined,
    write: (line: string) => {
      lines.push(line)
    },
  } as unknown as Log
  createRequestLog(log)({
    at: Date.UTC(2026, 10, 25, 12, 30, 59, 7) + 0.9,
    remoteAddress: '127.0.0.1',
    httpVersion: '1.1',
    method: 'POST',
    target: '/demo/kms/xks/v1/health',
    bodyBytes: 2,
    stages: STAGES.map(() => NaN),
    ...more,
  })
  const [line = ''] = lines
  t.match(line, /\}\n$/)
  return JSON.parse(line) as Record<string, unknown>
}

void t.test('each stage has its own time, and one that was not reached has none', (t) => {
  const { stagesMs } = lineOf({ stages: STAGES.map((_stage, i) => i + 0.00049) })
  t.same(stagesMs, Object.fromEntries(STAGES.map((stage, i) => [stage, i])))
  t.same(lineOf({ stages: STAGES.map((_stage, i) => (i === 3 ? 1.5 : NaN)) })['stagesMs'], {
    [STAGES[3]]: 1.5,
  })
  t.end()
})

void t.test('the time is the same as toISOString says, whatever came before', (t) => {
  const second = Date.UTC(2026, 11, 31, 23, 59, 59)
  for (const at of [
    second,
    second + 5,
    second + 999.9,
    second + 1000,
    second - 1,
    0,
    second + 40,
  ]) {
    t.equal(lineOf({ at })['time'], new Date(at).toISOString())
  }
  t.end()
})

void t.test('what callers write is escaped, wherever it stands', (t) => {
  const text = 'a "quoted" \\ line\n\u0000\u2028 and \ud800 half a character'
  const line = lineOf({
    target: text,
    metadata: {
      ...{ kmsRequestId: text, kmsOperation: text, awsPrincipalArn: text, kmsKeyArn: text },
      ...{ kmsViaService: text, awsSourceVpc: text, awsSourceVpce: text },
      other: { [text]: text },
    },
    unverifiedKmsRequestId: text,
  })
  for (const name of ['target', 'kmsRequestId', 'awsPrincipalArn', 'unverifiedKmsRequestId']) {
    t.equal(line[name], text, name)
  }
  t.end()
})

void t.test('any record is written as the serialiser of its schema writes it, to the byte', (t) => {
  const serialise = fastJson(LINE_SCHEMA as unknown as Schema)
  // JSON never brings half a character into a record; what the two make of one differs, and both can be read.
  const anyText = fc.string({ unit: 'binary', maxLength: 12 })
  const freely = fc.oneof(anyText, fc.constantFrom('s3', 'x'.repeat(2048), 'y'.repeat(2049), '"'))
  const token = fc.stringMatching(/^[A-Za-z0-9_.:-]{1,12}$/)
  const ms = fc.oneof(
    fc.constant(NaN),
    fc.double({ min: 0, max: 3, noNaN: true }),
    fc.double({ min: 0, max: 1e7, noNaN: true }),
  )
  const metadata = fc.record(
    {
      ...{ kmsRequestId: freely, kmsOperation: freely, awsPrincipalArn: freely, kmsKeyArn: freely },
      ...{ kmsViaService: freely, awsSourceVpc: freely, awsSourceVpce: freely },
      other: fc.dictionary(anyText, fc.jsonValue(), { maxKeys: 20, noNullPrototype: true }),
    },
    { requiredKeys: ['kmsRequestId', 'kmsOperation'] },
  )
  const record = fc.record(
    {
      at: fc.double({ min: 0, max: 4e12, noNaN: true }),
      ...{ remoteAddress: token, httpVersion: token, method: freely, target: freely },
      bodyBytes: fc.nat(),
      stages: fc.array(ms, { minLength: STAGES.length, maxLength: STAGES.length }),
      ...{ keyStore: token, keyId: token, accessKeyId: token, region: token, reason: token },
      operation: fc.constantFrom('Encrypt', 'Decrypt', 'GetHealthStatus'),
      errorName: fc.constantFrom('InvalidStateException', 'ValidationException'),
      ...{ keyVersion: fc.nat(), status: fc.nat(), metadata },
      ...{ bodySha256: token, unverifiedKmsRequestId: freely },
      totalMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
      tlsMs: fc.double({ min: 0, max: 1e6, noNaN: true }),
    },
    {
      requiredKeys: [
        'at',
        'remoteAddress',
        'httpVersion',
        'method',
        'target',
        'bodyBytes',
        'stages',
      ],
    },
  )
  const worker = fc.constantFrom(undefined, 1, 12)
  fc.assert(
    fc.property(record, worker, (one, number) => {
      const rendered = renderLine(one, 30, number)
      const expected = serialise(toLine(one as RequestRecord, 30, number))
      if (rendered !== `${expected}\n`) throw new Error(`${rendered}${expected}`)
      return true
    }),
    { numRuns: 2000 },
  )
  t.pass('2,000 records')
  t.end()
})
