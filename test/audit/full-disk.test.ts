/** Fills the disk of an audit log: entries that cannot be written are refused or counted, and the log shows the gap. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { decryptRecord, looseLog } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'

const run = promisify(execFile)
const MIB = 1024 * 1024
/** Number of entries, more than fit on the disk. */
const MOST = 100_000

void t.test('a full disk refuses, and room on it ends the refusals', async (t) => {
  const disk = await temporaryFolder(t)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk])
  t.teardown(() => run('umount', ['--lazy', disk]))
  const ballast = join(disk, 'ballast')
  writeFileSync(ballast, Buffer.alloc(29 * MIB))
  const { log, stop, verify } = await looseLog(t, disk)
  let durable = 0
  let refused: unknown
  while (refused === undefined && durable < MOST) {
    const batch = Array.from({ length: 200 }, (_, i) =>
      log.recordDurably(decryptRecord(`id-${String(durable + i)}`)),
    )
    const outcomes = await Promise.allSettled(batch)
    durable += outcomes.filter(({ status }) => status === 'fulfilled').length
    refused = outcomes.find((one) => one.status === 'rejected')?.reason
  }
  t.match(refused, { name: 'AuditError', code: 'AUDIT_UNWRITABLE', message: /ENOSPC/ })
  t.ok(durable > 1000, `${String(durable)} entries fit`)
  // Single entries fill the rest of the segment.
  const fits = () =>
    log.recordDurably(decryptRecord('one more')).then(
      () => true,
      () => false,
    )
  while (await fits()) durable += 1
  log.record(decryptRecord('lost'))
  await t.rejects(log.recordDurably(decryptRecord('lost too')), { code: 'AUDIT_UNWRITABLE' })
  const { lost, failure } = log.stats()
  t.ok(lost >= 2)
  t.match(failure, /ENOSPC/)

  rmSync(ballast)
  await log.recordDurably(decryptRecord('written again'))
  t.equal(log.stats().failure, undefined)
  await stop()
  const report = await verify()
  t.same(report.problems, [])
  t.match(report, { requests: durable + 1, lost, isOpen: false })
})
