/** Runs the kill switch contracts on both engines of the control store. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openPostgres, openSqlite } from './control-engines.ts'
import { killContract } from './control-kill.ts'
import { restoreContract } from './control-restore.ts'

t.setTimeout(120_000)

for (const contract of [killContract, restoreContract]) {
  contract({ name: 'SQLite', open: openSqlite })
  contract({ name: 'PostgreSQL', open: openPostgres })
}
