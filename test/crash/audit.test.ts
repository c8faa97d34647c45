/**
 * Kills a server in strict audit mode with SIGKILL: every plaintext that it returned must have a record in a log that
 * verifies.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { auditStorm } from '../support/audit-storm.ts'

/** Number of restarts. `test/by-hand/audit-storm.ts` accepts any number. */
const LIVES = 4

void t.test('no plaintext leaves without its record', async (t) => {
  const { received, recorded, recovered, logs } = await auditStorm(t, {
    lives: LIVES,
    decryptsOfALife: 300,
  })
  t.ok(received.size >= LIVES * 300, `${String(received.size)} plaintexts left`)
  t.same(
    [...received].filter((id) => !recorded.has(id)),
    [],
  )
  t.equal(logs, LIVES)
  t.equal(recovered, LIVES - 1)
})
