/**
 * Tests an audit log on a full disk: entries that cannot be written are refused or counted, and the log records the
 * loss.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { decryptRecord, looseLog } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const run = promisify(execFile)
const MIB = 1024 * 1024
/** Maximum number of entries to write, which is more than the disk can hold. */
const MOST = 100_000
/** Number of entries that occupy about 20 MiB. */
const FITTING = 44_000

/** Mounts a disk of 40 MiB. */
async function smallDisk(t: Test): Promise<string> {
  const disk = await temporaryFolder(t)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk])
  t.teardown(() => run('umount', ['--lazy', disk]))
  return disk
}

void t.test('a full disk causes refusals, and freeing space ends them', async (t) => {
  const disk = await smallDisk(t)
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
  // Write single entries until the segment's remaining space is used up.
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

void t.test('a full disk gets back the space of segments that only wait for a sync', async (t) => {
  const { log, stop, verify } = await looseLog(t, await smallDisk(t))
  const write = (id: string) =>
    log.recordDurably(decryptRecord(id)).then(
      () => true,
      () => false,
    )
  // The disk has room for the tiles of these entries and for two segments, but not for all of their segments.
  for (let at = 0; at < FITTING; at += 200) {
    const ids = Array.from({ length: 200 }, (_, i) => `id-${String(at + i)}`)
    await Promise.all(ids.map((id) => eventually(() => write(id))))
  }
  await stop()
  const report = await verify()
  t.same(report.problems, [])
  t.match(report, { requests: FITTING, isOpen: false })
})
