/** The line of a request: what stands in it, in which form. */
// SPDX-License-Identifier: Apache-2.0
import pino from 'pino'
import t from 'tap'
import type { Log } from '../../../src/listener/log.ts'
import { createRequestLog } from '../../../src/listener/request-log.ts'
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
