/** Tests every exit code in the table with a command that exits with it. */
// SPDX-License-Identifier: Apache-2.0
import { chmod, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { LatchkeyError } from '../../src/core/errors.ts'
import { EXIT_CODES, toExitCode, type ExitName } from '../../src/cli/exit-codes.ts'
import { latchkeyHere, workspace, type Ended } from '../support/cli.ts'

/** Returns a port that is already in use. */
async function takenPort(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const WAYS: Readonly<Record<Exclude<ExitName, 'internal'>, (t: Test) => Promise<Ended>>> = {
  ok: () => latchkeyHere(['version']),
  failed: async (t) => {
    const space = await workspace(t)
    return space.run('keys', 'rotate', 'nobody')
  },
  usage: () => latchkeyHere(['keys', 'create']),
  data: async (t) => {
    const space = await workspace(t)
    return space.run('keys', 'create', 'not a key id')
  },
  noInput: async (t) => {
    const space = await workspace(t, { withoutStore: true })
    await writeFile(join(space.folder, 'master.key'), Buffer.alloc(32, 1), { mode: 0o600 })
    return space.run('keys', 'list')
  },
  unavailable: async (t) => {
    const port = await takenPort(t)
    const space = await workspace(t, { listener: { port } })
    return space.run('serve')
  },
  permission: async (t) => {
    const space = await workspace(t)
    await chmod(join(space.folder, 'master.key'), 0o644)
    return space.run('keys', 'list')
  },
  config: async (t) => {
    const space = await workspace(t, { withoutStore: true })
    await writeFile(space.configFile, 'listener: 1')
    return space.run('keys', 'list')
  },
}

for (const [name, end] of Object.entries(WAYS)) {
  const { code, meaning } = EXIT_CODES[name as ExitName]
  void t.test(`${String(code)}: ${meaning}`, async (t) => {
    const ended = await end(t)
    t.equal(ended.code, code, ended.stderr)
    if (code === 0) t.equal(ended.stderr, '')
    else {
      t.equal(ended.stdout, '')
      t.match(ended.stderr, /^latchkey: error: [^A-Z\n][^\n]*[^.\n]\n(latchkey: hint: [^\n]+\n)?/)
      t.notMatch(ended.stderr, /\n {4}at /, 'no stack')
    }
  })
}

void t.test('70: only internal errors, with a stack trace', (t) => {
  const { code } = EXIT_CODES.internal
  for (const thrown of [new Error('x'), new TypeError('x'), new RangeError('x'), 'text', undefined])
    t.equal(toExitCode(thrown), code)
  t.equal(toExitCode(Object.assign(new TypeError('x'), { code: 'ERR_INVALID_ARG_TYPE' })), code)
  t.equal(toExitCode(new LatchkeyError('NO_ROW_OF_ITS_OWN', 'x')), EXIT_CODES.failed.code)
  t.end()
})

void t.test('69 for a locked store, and 1 for a damaged one', async (t) => {
  const space = await workspace(t)
  const path = join(space.folder, 'latchkey.db')
  const holder = new Sqlite(path)
  holder.exec('BEGIN IMMEDIATE')
  const busy = await space.run('keys', 'create', 'a')
  t.equal(busy.code, EXIT_CODES.unavailable.code, busy.stderr)
  holder.exec('ROLLBACK')
  holder.close()
  t.equal((await space.run('keys', 'create', 'a')).code, 0)

  for (const suffix of ['-wal', '-shm']) await rm(`${path}${suffix}`, { force: true })
  await writeFile(path, 'no database at all, but more than nothing'.repeat(100))
  const damaged = await space.run('keys', 'list', '--json')
  t.equal(damaged.code, EXIT_CODES.failed.code)
  t.match(JSON.parse(damaged.stderr), { error: { code: 'STORE_CORRUPT' } })
})
