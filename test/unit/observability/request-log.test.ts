/** The line of a request: what stands in it, in which form. */
// SPDX-License-Identifier: Apache-2.0
import fastJson, { type Schema } from 'fast-json-stringify'
import fc from 'fast-check'
import t from 'tap'
import type { Log } from '../../../src/observability/log.ts'
import { renderLine, toAsciiJson } from '../../../src/observability/request-line.ts'
import { createRequestLog, LINE_SCHEMA, toLine } from '../../../src/observability/request-log.ts'
import { STAGES, type RequestRecord } from '../../../src/xks/request-record.ts'

const HEAD = {
  at: Date.UTC(2026, 10, 25, 12, 30, 59, 7) + 0.9,
  remoteAddress: '127.0.0.1',
  httpVersion: '1.1',
  method: 'POST',
  target: '/demo/kms/xks/v1/health',
  bodyBytes: 2,
  stages: STAGES.map(() => NaN),
}

function lineOf(more: object): Record<string, unknown> {
  const lines: string[] = []
  const log = {
    logsInfo: true,
    worker: undefined,
    writeAscii: (line: string) => {
      lines.push(line)
    },
  } as unknown as Log
  createRequestLog(log)({ ...HEAD, ...more })
  const [line = ''] = lines
  t.match(line, /\}\n$/)
  return JSON.parse(line) as Record<string, unknown>
}

/** The same JSON text without any character beyond ASCII. */
function toAscii(json: string): string {
  return Array.from({ length: json.length }, (_, i) => {
    const unit = json.charCodeAt(i)
    return unit < 0x7f ? json.charAt(i) : `\\u${unit.toString(16).padStart(4, '0')}`
  }).join('')
}

void t.test('JSON in ASCII is the same JSON', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, text) => {
      for (const one of [value, text]) {
        const ascii = toAsciiJson(one)
        if (!/^[\x20-\x7e]*$/.test(ascii)) throw new Error(ascii)
        t.same(JSON.parse(ascii), JSON.parse(JSON.stringify(one)))
      }
    }),
  )
  t.end()
})

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

void t.test(
  'any records are written as the serialiser of their schema writes them, but in ASCII',
  (t) => {
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
        ...{
          kmsRequestId: freely,
          kmsOperation: freely,
          awsPrincipalArn: freely,
          kmsKeyArn: freely,
        },
        ...{ kmsViaService: freely, awsSourceVpc: freely, awsSourceVpce: freely },
        other: fc.dictionary(anyText, fc.jsonValue(), { maxKeys: 20, noNullPrototype: true }),
      },
      { requiredKeys: ['kmsRequestId', 'kmsOperation'] },
    )
    const record = fc.record(
      {
        at: fc.double({ min: 0, max: 4e12, noNaN: true }),
        ...{ remoteAddress: freely, httpVersion: token, method: freely, target: freely },
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
    const check = (one: RequestRecord, number: number | undefined) => {
      const rendered = renderLine(one, 30, number)
      // All that is beyond ASCII stands in quotes, where the two forms mean the same.
      const expected = toAscii(serialise(toLine(one, 30, number)))
      if (rendered !== `${expected}\n`) throw new Error(`${rendered}${expected}`)
    }
    fc.assert(
      fc.property(record, record, worker, (one, other, number) => {
        check(one, number)
        // What a line shares with the one before is not written anew.
        check(one, number)
        check(other, number)
        return true
      }),
      { numRuns: 2000 },
    )
    t.pass('6,000 records')
    t.end()
  },
)

void t.test('a line tells of a request whatever differs from the one before', (t) => {
  const metadata = {
    ...{
      kmsRequestId: 'id',
      kmsOperation: 'Encrypt',
      awsPrincipalArn: 'arn:a',
      kmsKeyArn: 'arn:k',
    },
    ...{ kmsViaService: 's3', awsSourceVpc: 'vpc-1', awsSourceVpce: 'vpce-1' },
  }
  const usual = {
    ...{
      keyStore: 'demo',
      operation: 'Encrypt',
      keyId: 'key',
      keyVersion: 1,
      status: 200,
    },
    ...{ errorName: 'ValidationException', reason: 'LENGTHS', accessKeyId: 'AKIA' },
    ...{ region: 'us-east-1', remoteAddress: '127.0.0.1', httpVersion: '1.1', metadata },
  }
  const changes = [
    ...Object.entries(usual).map(([name, value]) => ({ [name]: changed(value) })),
    ...Object.entries(metadata).map(([name, value]) => ({
      metadata: { ...metadata, [name]: changed(value) },
    })),
    ...Object.keys(metadata).map((name) => ({ metadata: { ...metadata, [name]: undefined } })),
    { metadata: { ...metadata, other: { more: 'x' } } },
    { bodySha256: 'ab' },
    { unverifiedKmsRequestId: 'claimed' },
    { operation: undefined },
  ]
  for (const change of changes) {
    const record = { ...usual, ...change }
    lineOf(usual)
    const line = lineOf(record)
    const expected = toLine({ ...HEAD, ...record } as unknown as RequestRecord, 30, undefined)
    t.same(line, JSON.parse(JSON.stringify(expected)), JSON.stringify(change))
    t.notSame(line, lineOf(usual), JSON.stringify(change))
  }
  t.end()
})

void t.test('what is written into a record after its line makes no other line wrong', (t) => {
  const metadata = { kmsRequestId: 'id', kmsOperation: 'Decrypt' }
  const timedOut: RequestRecord = { ...HEAD, metadata, operation: 'Decrypt' }
  renderLine(timedOut, 30, undefined)
  timedOut.keyVersion = 7
  t.equal(lineOf({ metadata, operation: 'Decrypt', keyVersion: 7 })['keyVersion'], 7)
  t.end()
})

function changed(value: unknown): unknown {
  if (typeof value === 'object') return { kmsRequestId: 'id', kmsOperation: 'Decrypt' }
  return typeof value === 'number' ? value + 1 : 'another'
}
