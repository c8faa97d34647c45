/** Tests the content and format of a request's log line. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import type { Log } from '../../../src/observability/log.ts'
import { createRequestLog } from '../../../src/observability/request-log.ts'
import { STAGES, type RequestRecord } from '../../../src/core/request.ts'

const HEAD = {
  at: Date.UTC(2026, 10, 25, 12, 30, 59, 7) + 0.9,
  remoteAddress: '127.0.0.1',
  httpVersion: '1.1',
  method: 'POST',
  target: '/demo/kms/xks/v1/health',
  bodyBytes: 2,
  stages: STAGES.map(() => NaN),
}

function textOf(more: object, worker?: number): string {
  const lines: string[] = []
  const log = {
    logsInfo: true,
    worker,
    writeAscii: (line: string) => {
      lines.push(line)
    },
  } as unknown as Log
  createRequestLog(log)({ ...HEAD, ...more })
  const [line = ''] = lines
  return line
}

function lineOf(more: object, worker?: number): Record<string, unknown> {
  const text = textOf(more, worker)
  // Only printable ASCII is permitted, so that terminals and editors interpret nothing in the line.
  if (!/^[\x20-\x7e]*$/.test(text)) throw new Error(text)
  return JSON.parse(text) as Record<string, unknown>
}

const toMs = (ms: number) => Math.round(ms * 1000) / 1000

/** Derives the expected fields of a record's log line. */
function expectedOf(record: RequestRecord, worker?: number): unknown {
  const clip = (text?: string) =>
    text !== undefined && text.length > 2048 ? `${text.slice(0, 2048)}...` : text
  const { metadata, totalMs = 0, tlsMs, operation } = record
  const { other } = metadata ?? {}
  const unknown = Object.entries(other ?? {}).slice(0, 16)
  const fields = {
    ...{ level: 30, time: new Date(record.at).toISOString(), worker },
    ...{ keyStore: record.keyStore, operation, keyId: record.keyId },
    ...{ keyVersion: record.keyVersion, status: record.status },
    ...{ errorName: record.errorName, reason: record.reason },
    kmsRequestId: clip(metadata?.kmsRequestId),
    kmsOperation: clip(metadata?.kmsOperation),
    awsPrincipalArn: clip(metadata?.awsPrincipalArn),
    kmsKeyArn: clip(metadata?.kmsKeyArn),
    kmsViaService: clip(metadata?.kmsViaService),
    awsSourceVpc: clip(metadata?.awsSourceVpc),
    awsSourceVpce: clip(metadata?.awsSourceVpce),
    otherMetadata:
      other &&
      Object.fromEntries(
        unknown.map(([name, value]) => [
          name.slice(0, 64),
          (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, 256),
        ]),
      ),
    ...{ accessKeyId: record.accessKeyId, region: record.region },
    ...{ bodySha256: record.bodySha256, unverifiedKmsRequestId: record.unverifiedKmsRequestId },
    ...{ remoteAddress: record.remoteAddress, http: record.httpVersion },
    ...(operation === undefined ? { method: record.method, target: clip(record.target) } : {}),
    ...{ bodyBytes: record.bodyBytes, totalMs: toMs(totalMs), tlsMs: tlsMs && toMs(tlsMs) },
    stagesMs: Object.fromEntries(
      STAGES.flatMap((stage, i) => {
        const ms = record.stages[i] ?? NaN
        return Number.isNaN(ms) ? [] : [[stage, toMs(ms)]]
      }),
    ),
    msg: 'request',
  }
  return JSON.parse(JSON.stringify(fields))
}

void t.test('each stage has its own time, and one that was not reached has none', (t) => {
  const { stagesMs } = lineOf({ stages: STAGES.map((_stage, i) => i + 0.00049) })
  t.same(stagesMs, Object.fromEntries(STAGES.map((stage, i) => [stage, i])))
  t.same(lineOf({ stages: STAGES.map((_stage, i) => (i === 3 ? 1.5 : NaN)) })['stagesMs'], {
    [STAGES[3]]: 1.5,
  })
  t.end()
})

void t.test('the time is the same as toISOString says', (t) => {
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

void t.test('text from callers is escaped in every field', (t) => {
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
  'the line of any record is JSON in ASCII, with all of its fields and no others',
  (t) => {
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
    fc.assert(
      fc.property(record, worker, (one, number) => {
        t.strictSame(lineOf(one, number), expectedOf(one as RequestRecord, number))
      }),
      { numRuns: 2000 },
    )
    t.end()
  },
)

void t.test('requests that differ have different lines', (t) => {
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
    const line = lineOf(record)
    const expected = expectedOf({ ...HEAD, ...record } as unknown as RequestRecord)
    t.strictSame(line, expected, JSON.stringify(change))
    t.notSame(line, lineOf(usual), JSON.stringify(change))
  }
  t.end()
})

function changed(value: unknown): unknown {
  if (typeof value === 'object') return { kmsRequestId: 'id', kmsOperation: 'Decrypt' }
  return typeof value === 'number' ? value + 1 : 'another'
}
