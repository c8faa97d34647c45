/** Tests that keys are listed even if their labels cannot be read. */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { workspace } from '../support/cli.ts'

void t.test('labels that cannot be read cost only the labels', async (t) => {
  const place = await workspace(t, { settings: { policy: { folder: 'policies' } } })
  const folder = join(place.folder, 'policies')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'labels.yaml'), '[')
  const created = await place.run('keys', 'create', 'payroll')
  t.equal(created.code, 0, created.stderr)
  t.match(await place.run('keys', 'list'), {
    code: 0,
    stdout: /payroll/,
    stderr: /warning: cannot read the labels of the keys: /,
  })
})
