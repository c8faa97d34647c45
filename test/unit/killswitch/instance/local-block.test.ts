/**
 * Tests the sentinel file and the signal: each blocks this host without using the store or the network, and only
 * removing the file lifts the block.
 */
// SPDX-License-Identifier: Apache-2.0
import { access, mkdir, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import { systemClock } from '../../../../src/core/clock.ts'
import { createGate } from '../../../../src/killswitch/gate/gate.ts'
import { createLocalBlock } from '../../../../src/killswitch/instance/local-block.ts'
import { createRules } from '../../../../src/killswitch/gate/rules.ts'
import { eventually } from '../../../support/server.ts'

function setUp(t: Test, path: string) {
  const gate = createGate(systemClock, 3_600_000)
  gate.apply(createRules([]), 1)
  gate.renew(systemClock.monotonic())
  const said: string[] = []
  let cuts = 0
  const block = createLocalBlock({
    ...{ path, gate, intervalMs: 5 },
    cutRevoked: () => {
      cuts += 1
      return Promise.resolve()
    },
    logger: { ...silentLogger, warn: (message) => said.push(message) },
  })
  t.teardown(block.stop)
  return { gate, block, said, cuts: () => cuts, reason: () => gate.stats().reason }
}

void t.test('follows the file, and cuts pending responses once for each block', async (t) => {
  const path = join(t.testdir(), 'sentinel')
  const { block, reason, cuts, said } = setUp(t, path)
  await block.start()
  t.equal(reason(), undefined)
  await writeFile(path, '')
  await eventually(() => reason() === 'SENTINEL')
  await eventually(() => cuts() === 1)
  await rm(path)
  await eventually(() => reason() === undefined)
  t.equal(said.length, 2)
})

void t.test('if the file exists at the start, everything is refused from the start', async (t) => {
  const path = join(t.testdir({ sentinel: '' }), 'sentinel')
  const { block, reason } = setUp(t, path)
  await block.start()
  t.equal(reason(), 'SENTINEL')
})

void t.test(
  'a path that cannot be looked at may hide it, one whose folder is missing does not',
  async (t) => {
    const folder = t.testdir()
    const looping = setUp(t, join(folder, 'x'.repeat(300)))
    await looping.block.start()
    t.equal(looping.reason(), 'SENTINEL', 'ENAMETOOLONG')
    const missing = setUp(t, join(folder, 'no', 'such', 'folder', 'sentinel'))
    await missing.block.start()
    t.equal(missing.reason(), undefined)
    await mkdir(join(folder, 'no', 'such', 'folder'), { recursive: true })
    await writeFile(join(folder, 'no', 'such', 'folder', 'sentinel'), '')
    await eventually(() => missing.reason() === 'SENTINEL')
  },
)

void t.test('the signal makes no file through a link, and a link blocks as it is', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'sentinel')
  await symlink(join(folder, 'elsewhere'), path)
  const { block, reason, said } = setUp(t, path)
  await block.block()
  t.same(await readdir(folder), ['sentinel'])
  t.notOk(
    said.some((message) => message.includes('cannot create')),
    said.join(),
  )
  await block.start()
  t.ok(['SENTINEL', 'SIGNAL'].includes(String(reason())))
})

void t.test(
  'the signal blocks in the same tick and makes the file; removing it lifts both',
  async (t) => {
    const path = join(t.testdir(), 'sentinel')
    const { block, reason, cuts } = setUp(t, path)
    await block.start()
    const blocking = block.block()
    t.equal(reason(), 'SIGNAL', 'before anything is awaited')
    await blocking
    t.ok(cuts() >= 1)
    await access(path)
    t.equal((await stat(path)).mode & 0o777, 0o600)
    await eventually(() => reason() !== undefined)
    // Wait until the file has been seen; removing it earlier would have no effect.
    await eventually(() => cuts() >= 2)
    await rm(path)
    await eventually(() => reason() === undefined)
  },
)

void t.test('a signal holds without a file, where none can be made', async (t) => {
  const path = join(t.testdir(), 'no', 'folder', 'sentinel')
  const { block, reason, said } = setUp(t, path)
  await block.start()
  await block.block()
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(reason(), 'SIGNAL')
  t.ok(said.some((one) => one.startsWith('cannot create the sentinel file')))
})
