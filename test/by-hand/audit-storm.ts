/**
 * The storm of test/crash/audit.test.ts for any number of server restarts:
 *
 *     npm run build:test && LIVES=50 node .test-build/test/by-hand/audit-storm.js
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { auditStorm } from '../support/audit-storm.ts'

t.setTimeout(3_600_000)

void t.test('no plaintext leaves without its record', async (t) => {
  const lives = Number(process.env['LIVES'] ?? 20)
  const { received, recorded, recovered } = await auditStorm(t, lives, 1000)
  t.comment(`${String(received.size)} plaintexts, ${String(recovered)} logs completed`)
  t.same(
    [...received].filter((id) => !recorded.has(id)),
    [],
  )
})
