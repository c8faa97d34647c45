/**
 * Runs the storm from test/crash/audit.test.ts with any number of server restarts, and prints the rate of Decrypts. If
 * FSCK is set, an independent program also verifies each log (audit-fsck.ts says how to install it):
 *
 *     npm run build:test && LIVES=50 FSCK=$(go env GOPATH)/bin/fsck node .test-build/test/by-hand/audit-storm.js
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { auditStorm } from '../support/audit-storm.ts'
import { fsck } from '../support/fsck.ts'

t.setTimeout(3_600_000)

void t.test('no plaintext leaves without its record', async (t) => {
  const lives = Number(process.env['LIVES'] ?? 20)
  const { received, recorded, recovered, rate } = await auditStorm(t, {
    ...{ lives, decryptsOfALife: 1000, atOnce: 64 },
    async check(folder, size) {
      if (process.env['FSCK'] !== undefined) t.equal(await fsck(folder), String(size))
    },
  })
  t.comment(
    `${String(received.size)} plaintexts, ${rate.toFixed(0)} a second, ${String(recovered)} logs completed`,
  )
  t.same(
    [...received].filter((id) => !recorded.has(id)),
    [],
  )
})
