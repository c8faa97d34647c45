/** Tests how commands write files: they create only new files, and never write through a link. */
// SPDX-License-Identifier: Apache-2.0
import { link, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { writeOutputFile, writePrivateFile } from '../../../src/terminal/files.ts'
import { giveFile } from '../../../src/tools/install/system.ts'

void t.test(
  'a new file never replaces an existing one, and is not written through a link',
  async (t) => {
    const folder = t.testdir({ victim: 'precious' })
    const at = (name: string) => join(folder, name)
    await writePrivateFile(at('secret'), 'x')
    t.equal((await stat(at('secret'))).mode & 0o777, 0o600)
    await symlink(at('victim'), at('link'))
    await symlink(at('nowhere'), at('dangling'))
    for (const name of ['secret', 'victim', 'link', 'dangling'])
      await t.rejects(writePrivateFile(at(name), 'y'), { code: 'INPUT_INVALID' }, name)
    t.equal(await readFile(at('victim'), 'utf8'), 'precious')
    await t.rejects(stat(at('nowhere')), { code: 'ENOENT' })
  },
)

void t.test('an output file is overwritten, but not through a link', async (t) => {
  const folder = t.testdir({ victim: 'precious' })
  const at = (name: string) => join(folder, name)
  await writeOutputFile(at('report.html'), 'the first, which is longer')
  await writeOutputFile(at('report.html'), 'second')
  t.equal(await readFile(at('report.html'), 'utf8'), 'second')
  await symlink(at('victim'), at('link'))
  await symlink(at('nowhere'), at('dangling'))
  for (const name of ['link', 'dangling'])
    await t.rejects(writeOutputFile(at(name), 'y'), { code: 'ELOOP' }, name)
  t.equal(await readFile(at('victim'), 'utf8'), 'precious')
})

void t.test("only plain files of root are given to the service's user", async (t) => {
  const folder = t.testdir({ store: '', victim: '', shared: '' })
  const at = (name: string) => join(folder, name)
  await symlink(at('victim'), at('link'))
  await link(at('shared'), at('hard'))
  await writeFile(at('other'), '')
  const own = process.getuid?.() ?? -1
  for (const name of ['store', 'link', 'hard']) await giveFile(at(name), 12_345, 12_345)
  const owner = async (name: string) => (await stat(at(name))).uid
  // Only root can change a file's owner, so the test expects a new owner only if it runs as root.
  t.equal(await owner('store'), own === 0 ? 12_345 : own)
  t.equal(await owner('victim'), own, 'the target of a link')
  t.equal(await owner('shared'), own, 'a file with another name elsewhere')
})
