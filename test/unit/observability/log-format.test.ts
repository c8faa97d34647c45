/** Tests log lines that use the field names of ECS and OpenTelemetry. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { STAGES } from '../../../src/core/request.ts'
import { createLog } from '../../../src/observability/log.ts'
import { createRequestLog } from '../../../src/observability/request-log.ts'
import { temporaryFolder } from '../../support/cli.ts'

type Json = Record<string, unknown>

/** Writes a message, an error and a request, and returns the three lines. */
async function write(t: Test, format: 'ecs' | 'otel'): Promise<[Json, Json, Json]> {
  const file = join(await temporaryFolder(t), 'log')
  const log = createLog({ level: 'info', format }, file, {
    ...{ version: '1.2.3', instanceId: 'one', worker: 2 },
  })
  log.logger.info('listening', { port: 8443, passphrase: 'planted' })
  log.logger.error('it failed', { err: Object.assign(new Error('why'), { code: 'E' }) })
  createRequestLog(log)({
    ...{ at: Date.UTC(2026, 0, 2), remoteAddress: '192.0.2.1', httpVersion: '2', method: 'POST' },
    ...{ target: '/x', bodyBytes: 7, stages: STAGES.map(() => NaN), totalMs: 1.5 },
    ...{
      operation: 'Encrypt',
      keyStore: 'demo',
      status: 400,
      errorName: 'InvalidKeyUsageException',
    },
    metadata: { kmsRequestId: '4112f4d6', awsPrincipalArn: 'arn:aws:iam::1:user/Zo\u00eb' },
  } as never)
  await log.close()
  const text = await readFile(file, 'utf8')
  t.notMatch(text, 'planted')
  t.match(text, /^[\n\x20-\x7e]*$/)
  const lines = text.trim().split('\n')
  t.equal(lines.length, 3)
  return lines.map((line) => JSON.parse(line) as Json) as [Json, Json, Json]
}

void t.test('ecs', async (t) => {
  const [message, error, request] = await write(t, 'ecs')
  t.match(message, {
    '@timestamp': /^\d{4}-.*Z$/,
    'log.level': 'info',
    message: 'listening',
    'service.name': 'latchkey',
    'service.version': '1.2.3',
    'service.node.name': 'one',
    'latchkey.port': 8443,
    'latchkey.worker': 2,
    'latchkey.passphrase': '[redacted]',
  })
  t.match(error, {
    'log.level': 'error',
    'error.type': 'Error',
    'error.message': 'why',
    'error.stack_trace': /log-format/,
    'latchkey.err': { code: 'E' },
  })
  t.match(request, {
    '@timestamp': '2026-01-02T00:00:00.000Z',
    message: 'request',
    'event.outcome': 'failure',
    'event.duration': 1_500_000,
    'http.response.status_code': 400,
    'http.request.id': '4112f4d6',
    'client.ip': '192.0.2.1',
    'error.code': 'InvalidKeyUsageException',
    'latchkey.operation': 'Encrypt',
    'latchkey.awsPrincipalArn': 'arn:aws:iam::1:user/Zo\u00eb',
  })
})

void t.test('otel', async (t) => {
  const [message, error, request] = await write(t, 'otel')
  const Resource = {
    'service.name': 'latchkey',
    'service.version': '1.2.3',
    'service.instance.id': 'one',
  }
  t.match(message, { Body: 'listening', SeverityText: 'INFO', SeverityNumber: 9, Resource })
  t.match(error, {
    SeverityNumber: 17,
    Attributes: { 'exception.type': 'Error', 'exception.message': 'why' },
  })
  t.match(request, {
    Timestamp: '2026-01-02T00:00:00.000Z',
    Resource,
    Attributes: {
      'http.response.status_code': 400,
      'client.address': '192.0.2.1',
      'error.type': 'InvalidKeyUsageException',
      'latchkey.totalMs': 1.5,
    },
  })
})
