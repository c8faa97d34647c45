/** Tests a host's high-water mark: it never decreases, is durable, and belongs to a single store. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openHighWater } from '../../../../src/killswitch/instance/high-water.ts'

const at = (epoch: number) => ({ epoch, tag: `tag ${String(epoch)}` })

void t.test('survives a restart, and is never lowered', async (t) => {
  const path = join(t.testdir(), 'high-water')
  const one = await openHighWater(path, 'store')
  t.equal(one.mark, undefined)
  await one.raise(at(5))
  await one.raise(at(4))
  t.same(one.mark, at(5))
  t.same((await openHighWater(path, 'store')).mark, at(5))
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.same(await readdir(join(path, '..')), ['high-water'], 'no draft is left')
})

void t.test('a worker that lags does not lower the mark of another', async (t) => {
  const path = join(t.testdir(), 'high-water')
  const [slow, quick] = [await openHighWater(path, 'store'), await openHighWater(path, 'store')]
  await quick.raise(at(9))
  await slow.raise(at(3))
  t.same(slow.mark, at(3), 'as far as it knows itself')
  t.same((await openHighWater(path, 'store')).mark, at(9))
})

void t.test('the mark of another store says nothing about this store', async (t) => {
  const path = join(t.testdir(), 'high-water')
  await (await openHighWater(path, 'store')).raise(at(5))
  const other = await openHighWater(path, 'another')
  t.equal(other.mark, undefined)
  t.ok(other.isForeign)
  await other.raise(at(1))
  t.notOk(other.isForeign)
  t.same((await openHighWater(path, 'another')).mark, at(1), 'once it is accepted, it is replaced')
})

void t.test('a file that holds something else is refused, and left as it is', async (t) => {
  const path = join(t.testdir(), 'high-water')
  for (const text of ['', '{}', '{"storeId":"store","epoch":"5","tag":"x"}', 'epoch 5']) {
    await writeFile(path, text)
    await t.rejects(openHighWater(path, 'store'), { code: 'STORE_CORRUPT' }, text)
    t.equal(await readFile(path, 'utf8'), text)
  }
  await t.rejects(openHighWater(t.testdir(), 'store'), { code: 'EISDIR' })
})

void t.test('a link in the folder is not written through', async (t) => {
  const folder = t.testdir({ victim: 'precious' })
  const path = join(folder, 'high-water')
  await symlink(join(folder, 'victim'), `${path}.${String(process.pid)}`)
  await (await openHighWater(path, 'store')).raise(at(5))
  t.equal(await readFile(join(folder, 'victim'), 'utf8'), 'precious')
  t.same((await openHighWater(path, 'store')).mark, at(5))
})

void t.test('a folder that cannot be written to is found at the start, by its path', async (t) => {
  const path = join(t.testdir(), 'no/such/folder/latchkey.epoch')
  await t.rejects(openHighWater(path, 'store'), {
    code: 'HIGH_WATER_UNWRITABLE',
    message: `cannot write the high-water file ${path} (ENOENT)`,
    hint: /control\.highWaterFile/,
  })
  const folder = t.testdir()
  await openHighWater(join(folder, 'latchkey.epoch'), 'store')
  t.same(await readdir(folder), [], 'looking leaves nothing behind')
})

void t.test('without a file, the mark lasts as long as the process', async (t) => {
  const one = await openHighWater(undefined, 'store')
  await one.raise(at(5))
  t.same(one.mark, at(5))
  t.equal((await openHighWater(undefined, 'store')).mark, undefined)
})
