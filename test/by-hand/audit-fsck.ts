/**
 * Verifies our logs with fsck from transparency-dev/tessera, an independent implementation. It must accept logs whose
 * sizes lie around each tile boundary, and reject logs with a changed byte in any file.
 *
 *     go install github.com/transparency-dev/tessera/cmd/fsck@v1.0.4
 *     npm run build:test && FSCK=$(go env GOPATH)/bin/fsck node .test-build/test/by-hand/audit-fsck.js
 *
 * test/audit/tampering.test.ts runs the same checks with our own verifier.
 */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decryptRecord, looseLog } from '../support/audit.ts'
import { fsck } from '../support/fsck.ts'

/** Numbers of request records to test with. Each log has two further entries. */
const SIZES = [0, 1, 100, 253, 254, 255, 256, 511, 700, 3000, 66_000]

t.setTimeout(600_000)

for (const size of SIZES)
  void t.test(`fsck passes on a log of ${String(size)} records`, async (t) => {
    const { log, folder, stop } = await looseLog(t)
    for (let i = 0; i < size; i++) {
      log.record(decryptRecord(`id-${String(i)}`))
      if (i % 5000 === 4999) await new Promise((resolve) => setTimeout(resolve, 300))
    }
    await stop()
    t.equal(log.stats().lost, 0)
    t.equal(await fsck(folder), String(size + 2))
  })

void t.test('fsck fails on a log with a byte changed in any file that it reads', async (t) => {
  const { log, folder, stop, copy } = await looseLog(t)
  for (let i = 0; i < 600; i++) log.record(decryptRecord(`id-${String(i)}`))
  await stop()
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /^tile\/|^checkpoint$/.test(name) && statSync(join(folder, name)).isFile(),
  )
  t.ok(files.length >= 8)
  for (const [i, name] of files.entries()) {
    const changed = await copy(`changed-${String(i)}`)
    const path = join(changed, name)
    const bytes = readFileSync(path)
    const at = Math.floor(bytes.length / 2)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(path, bytes)
    t.match(await fsck(changed), /fail/, name)
  }
})
