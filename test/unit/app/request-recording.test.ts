/** Tests that the log keeps the order of events, although finished requests are logged in batches. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { recordRequests } from '../../../src/app/request-recording.ts'
import { Cleanup } from '../../../src/core/cleanup.ts'
import { createLog } from '../../../src/observability/log.ts'
import { decryptRecord } from '../../support/audit.ts'

for (const format of ['latchkey', 'ecs'] as const) {
  void t.test(
    `an event is logged after the requests that finished before it (${format})`,
    async (t) => {
      const file = join(t.testdir({}), 'log')
      const log = createLog({ level: 'info', format }, file, {
        version: '1.0.0',
        instanceId: 'one',
      })
      const cleanup = new Cleanup()
      const usage = { recordCaller: () => undefined, recordVersion: () => undefined }
      const metrics = { onFinish: () => undefined }
      const { onFinish } = recordRequests(
        { log, audit: undefined, usage, tripwire: undefined, metrics },
        cleanup,
      )
      onFinish(decryptRecord('first'))
      log.logger.warn('stopped')
      onFinish(decryptRecord('second'))
      await cleanup.run()
      await log.close()
      const lines = (await readFile(file, 'utf8')).trimEnd().split('\n')
      const found = lines.map((line) => /stopped|first|second/.exec(line)?.[0])
      t.same(found, ['first', 'stopped', 'second'])
    },
  )
}
